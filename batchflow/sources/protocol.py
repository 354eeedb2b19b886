"""The protocol of objects that data can be read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@runtime_checkable
class Source(Protocol):
    """Data that is read by rows: `Dataset(index, BatchClass, source=...)`.

    Any object with these two methods is one; nothing needs to be inherited. It may also have:

    - `blocks`: the first positions of runs of rows that are cheap to read together (chunks,
      shards), as an array, or their common length as a number;
    - `fingerprint`: a text that changes when the data does (paths, sizes, times);
    - `close()`: frees the resources of the source. The code that made the source calls it.

    With `executor="processes"` and on clusters it is pickled once, and read in the workers: let
    `__getstate__` leave out open files, and open them when `read` is first called.

    Example:
        >>> import numpy as np
        >>> from batchflow import ArrayBatch, Dataset
        >>> class Squares:
        ...     def __len__(self):
        ...         return 10**9
        ...
        ...     def read(self, positions):
        ...         return {"x": positions**2}
        >>> class Numbers(ArrayBatch):
        ...     components = "x"
        >>> Dataset(10**9, Numbers, source=Squares()).next_batch(4).x
        array([0, 1, 4, 9])
    """

    def __len__(self) -> int:
        """Return the number of rows: one for each item, in the order of the index."""

    def read(self, positions: npt.NDArray[np.int64]) -> Mapping[str, Any]:
        """Return the rows at some positions, by the names of the components.

        Args:
            positions: An int64 array of shape `(n,)`, in any order, each at most once.

        Returns:
            Rows by component: arrays of shape `(n, ...)`, lists of `n`, or other containers, in the
            order of `positions` and fresh, so that the batch may change them. `"data"` stands for
            the data of a batch class without components.

        It is called from several threads at once, and in workers.
        """
