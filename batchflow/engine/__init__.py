"""How it happens: see README.md in this folder for the map."""

from batchflow.engine.again import warn_of_repeated_training
from batchflow.engine.build import Machine
from batchflow.engine.count import Length
from batchflow.engine.epochs import Epoch
from batchflow.engine.keywords import RunKeywords, shows_options
from batchflow.engine.models import PipelineModels
from batchflow.engine.options import RunOptions
from batchflow.engine.program import Program
from batchflow.engine.run import Observer, Run
from batchflow.engine.source import Source
from batchflow.engine.state import PipelineState

__all__ = [
    "Epoch",
    "Length",
    "Machine",
    "Observer",
    "PipelineModels",
    "PipelineState",
    "Program",
    "Run",
    "RunKeywords",
    "RunOptions",
    "Source",
    "shows_options",
    "warn_of_repeated_training",
]
