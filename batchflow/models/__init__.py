"""Model systems that know no batch. What trains is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchflow.models.calls import train_step, train_steps
    from batchflow.models.lazy import LazyValue

__all__ = ["LazyValue", "train_step", "train_steps"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from batchflow.models import calls, lazy

    return lazy.LazyValue if name == "LazyValue" else getattr(calls, name)
