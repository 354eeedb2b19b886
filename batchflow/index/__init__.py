"""Which items there are, and in which order: ids, splits, permutations."""

from batchflow.index.files import FilesIndex
from batchflow.index.ids import DatasetIndex
from batchflow.index.split import Split

__all__ = ["DatasetIndex", "FilesIndex", "Split"]
