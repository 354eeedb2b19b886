"""What batchflow knows of Keras models. Keras is imported by whoever makes a model, never here."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_keras_model"]


def is_keras_model(value: Any) -> bool:
    """Tell whether `value` is a Keras model."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)
