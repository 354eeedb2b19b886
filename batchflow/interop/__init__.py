"""Pipelines for the training loops of Keras and other frameworks."""

from batchflow.interop.feed import Feed, feeding

__all__ = ["Feed", "feeding"]
