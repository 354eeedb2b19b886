"""The batch: components, actions, model definitions."""

from batchflow.batch.actions import action
from batchflow.batch.array import ArrayBatch
from batchflow.batch.batch import Batch
from batchflow.batch.directory import model
from batchflow.batch.items.parallel import any_action_failed, apply_parallel, inbatch_parallel

__all__ = [
    "ArrayBatch",
    "Batch",
    "action",
    "any_action_failed",
    "apply_parallel",
    "inbatch_parallel",
    "model",
]
