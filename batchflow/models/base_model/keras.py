"""Keras, imported on use.

A class that inherits from one of Keras's is written as a mixin. The class itself is made on first
use, so that importing batchflow does not import Keras.
"""

from __future__ import annotations

from typing import Any

from batchflow.extras import imported

# The base of such a mixin, until it is combined with a class of Keras.
Base: Any = object


def keras() -> Any:
    """Import Keras and return it.

    Raises:
        MissingPackageError: (a `ModuleNotFoundError`) It is not installed.
    """
    return imported("keras", "a BaseModel")
