"""How it happens: see README.md in this folder for the map."""

from batchflow.engine.options import RunKeywords, RunOptions
from batchflow.engine.run import Observer, Run
from batchflow.engine.source import Source
from batchflow.engine.state import PipelineModels, PipelineState

__all__ = [
    "Observer",
    "PipelineModels",
    "PipelineState",
    "Run",
    "RunKeywords",
    "RunOptions",
    "Source",
]
