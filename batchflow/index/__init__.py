"""The ids of items, their splits, and the orders of epochs."""

from batchflow.index.files import FilesIndex
from batchflow.index.ids import DatasetIndex
from batchflow.index.split import Split

__all__ = ["DatasetIndex", "FilesIndex", "Split"]
