"""Data that is read by rows. Nothing here knows a batch.

protocol.py  Source: the methods of any object that data can be read from
lazy.py      arrays on disk, which are read by rows
"""

from batchflow.sources.protocol import Source

__all__ = ["Source"]
