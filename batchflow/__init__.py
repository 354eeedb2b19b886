"""Batches through pipelines: data in parallel, training in order, one answer.

See README.md, or start with `Dataset`, `ArrayBatch`, `action` and `model`.
"""

import typing as _typing

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
from batchflow.engine import Epoch, Run, RunKeywords, RunOptions
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
from batchflow.executors.item_threads import shutdown
from batchflow.index import DatasetIndex, FilesIndex, Split
from batchflow.pipeline import Pipeline
from batchflow.plan import PP, B, C, Config, D, F, I, L, P, R, V, W
from batchflow.plan.expressions import Expression
from batchflow.sources import Source

if _typing.TYPE_CHECKING:
    from batchflow.allocator import keep_memory
    from batchflow.assembling import assemble_windows
    from batchflow.checkpoints import Checkpoint, Keep, Preempted
    from batchflow.index.orders import Balanced, Bucketed, Shuffle, Weighted
    from batchflow.insight.profile import Profile
    from batchflow.inspection.report import Report
    from batchflow.interop import Feed

# The name that users of an older batchflow know.
SkipBatchException = SkipBatch

__version__ = "0.2.0.dev0"

__all__ = [
    "ActionResultError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "ArrayBatch",
    "B",
    "Balanced",
    "Batch",
    "BatchflowError",
    "Bucketed",
    "C",
    "Checkpoint",
    "Config",
    "D",
    "Dataset",
    "DatasetIndex",
    "Epoch",
    "Expression",
    "F",
    "Feed",
    "FilesIndex",
    "I",
    "ItemTimeoutError",
    "Keep",
    "L",
    "MissingPackageError",
    "ModelDefinitionError",
    "P",
    "PP",
    "Pipeline",
    "Preempted",
    "Profile",
    "R",
    "Report",
    "Run",
    "RunClosedError",
    "RunKeywords",
    "RunOptions",
    "Shuffle",
    "SkipBatch",
    "SkipBatchException",
    "Source",
    "Split",
    "StopPipeline",
    "UnknownAttributeError",
    "UnknownNameError",
    "V",
    "W",
    "Weighted",
    "WorkerDiedError",
    "action",
    "any_action_failed",
    "apply_parallel",
    "assemble_windows",
    "inbatch_parallel",
    "keep_memory",
    "model",
    "shutdown",
]

# What `feed` and `check` give, and what a script calls once: imported when it is first named, as
# few programs do.
_ON_USE = {
    "Balanced": "batchflow.index.orders",
    "Bucketed": "batchflow.index.orders",
    "Checkpoint": "batchflow.checkpoints",
    "Feed": "batchflow.interop",
    "Keep": "batchflow.checkpoints",
    "Preempted": "batchflow.checkpoints",
    "Profile": "batchflow.insight.profile",
    "Report": "batchflow.inspection.report",
    "Shuffle": "batchflow.index.orders",
    "Weighted": "batchflow.index.orders",
    "assemble_windows": "batchflow.assembling",
    "keep_memory": "batchflow.allocator",
}


def __getattr__(name: str) -> _typing.Any:
    if name not in _ON_USE:
        raise AttributeError(f"module 'batchflow' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_ON_USE[name]), name)
    globals()[name] = value
    return value
