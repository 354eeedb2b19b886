"""The type variable of what has batches of one class: `Dataset[Signals]`, `Run[Signals]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchflow.batch.batch import Batch

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # of the type checkers: nothing is installed for it

    BatchT_co = TypeVar("BatchT_co", bound=Batch, default=Batch, covariant=True)
    OtherT = TypeVar("OtherT", bound=Batch)
else:
    from typing import TypeVar

    BatchT_co = TypeVar("BatchT_co", bound=Batch, covariant=True)
    OtherT = TypeVar("OtherT", bound=Batch)
