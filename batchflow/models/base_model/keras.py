"""Keras, imported on use.

What a class does that inherits from one of Keras's stands in a mixin. The class itself is made when
it is first asked for: importing batchflow does not import Keras.
"""

from __future__ import annotations

from typing import Any

from batchflow.extras import imported

__all__ = ["Base", "keras"]

# What such a mixin inherits from, until it stands before a class of Keras.
Base: Any = object


def keras() -> Any:
    """Give Keras.

    Raises:
        MissingPackageError: (a `ModuleNotFoundError`) It is not installed.
    """
    return imported("keras", "a BaseModel")
