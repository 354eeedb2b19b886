"""Pipelines for the training loops of Keras and other frameworks."""

from typing import TYPE_CHECKING, Any

from batchflow.interop.feed import Feed, feeding

if TYPE_CHECKING:
    from batchflow.interop.resume import Resume

__all__ = ["Feed", "Resume", "feeding"]


def __getattr__(name: str) -> Any:
    """Import `Resume` when it is asked for: it knows models and checkpoints."""
    if name != "Resume":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from batchflow.interop.resume import Resume

    return Resume
