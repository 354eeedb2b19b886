"""To the loops of others: what Keras and other frameworks read."""

from batchflow.interop.feed import Feed, feeding

__all__ = ["Feed", "feeding"]
