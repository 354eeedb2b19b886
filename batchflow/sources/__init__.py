"""Data that is read by rows. Nothing here knows a batch.

protocol.py     Source: the methods of any object that data can be read from
lazy.py         arrays on disk that a user has opened, which are read by rows
stored.py       arrays in a file that each process opens: hdf5.py, zarr.py
hdf5_direct.py  rows of HDF5 files, read from where they lie
hdf5_files.py    the other files that such rows come from
frames.py       tables in memory, of pandas, polars and Arrow
parquet.py      Parquet files, by row groups
sql.py          the rows of a query, by their ids
items.py        data sets of other libraries, item by item
labels.py       values that belong to ids: labels of files, paths of masks
csv_columns.py   the columns of a CSV file with labels
unchanged.py    files that must stay as they are
"""

from batchflow.sources.protocol import Source

__all__ = ["Source"]
