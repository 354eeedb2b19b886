"""Batches through pipelines: data in parallel, training in order, one answer.

See README.md, or start with `Dataset`, `ArrayBatch`, `action` and `model`.
"""

from batchflow.batch import (
    ArrayBatch,
    Batch,
    action,
    any_action_failed,
    apply_parallel,
    inbatch_parallel,
    model,
)
from batchflow.dataset import Dataset
from batchflow.engine import Run
from batchflow.errors import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    BatchflowError,
    ItemTimeoutError,
    MissingPackageError,
    ModelDefinitionError,
    RunClosedError,
    SkipBatch,
    StopPipeline,
    UnknownAttributeError,
    UnknownNameError,
    WorkerDiedError,
)
from batchflow.executors.pool import shutdown
from batchflow.index import DatasetIndex, FilesIndex, Split
from batchflow.pipeline import Pipeline
from batchflow.plan import PP, B, C, Config, D, F, I, L, P, R, V, W
from batchflow.sources import Source

# The name that users of an older batchflow know.
SkipBatchException = SkipBatch

__version__ = "0.1.0"

__all__ = [
    "ActionResultError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "ArrayBatch",
    "B",
    "Batch",
    "BatchflowError",
    "C",
    "Config",
    "D",
    "Dataset",
    "DatasetIndex",
    "F",
    "FilesIndex",
    "I",
    "ItemTimeoutError",
    "L",
    "MissingPackageError",
    "ModelDefinitionError",
    "P",
    "PP",
    "Pipeline",
    "R",
    "Run",
    "RunClosedError",
    "SkipBatch",
    "SkipBatchException",
    "Source",
    "Split",
    "StopPipeline",
    "UnknownAttributeError",
    "UnknownNameError",
    "V",
    "W",
    "WorkerDiedError",
    "action",
    "any_action_failed",
    "apply_parallel",
    "inbatch_parallel",
    "model",
    "shutdown",
]
