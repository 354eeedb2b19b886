"""How it happens: see README.md in this folder for the map."""

from batchflow.engine.epochs import Epoch
from batchflow.engine.flow import ReadyGraph
from batchflow.engine.graph import RunGraph
from batchflow.engine.keywords import RunKeywords, shows_options
from batchflow.engine.options import RunOptions
from batchflow.engine.preparation.models import PipelineModels
from batchflow.engine.program import Program
from batchflow.engine.regrouping.count import Length
from batchflow.engine.run import Observer, Run
from batchflow.engine.source import Source, is_source
from batchflow.engine.state import PipelineState

__all__ = [
    "Epoch",
    "Length",
    "Observer",
    "PipelineModels",
    "PipelineState",
    "Program",
    "ReadyGraph",
    "Run",
    "RunGraph",
    "RunKeywords",
    "RunOptions",
    "Source",
    "is_source",
    "shows_options",
]
