"""What a batch holds and can do: components, actions, model definitions."""

from batchflow.batch.actions import action
from batchflow.batch.array import ArrayBatch
from batchflow.batch.batch import Batch
from batchflow.batch.directory import model

__all__ = ["ArrayBatch", "Batch", "action", "model"]
