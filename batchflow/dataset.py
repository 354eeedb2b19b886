"""Datasets, and the ways to make one: of arrays, files, tables, stored arrays, other data sets."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchflow import mixing
from batchflow.arrays import column_names
from batchflow.base_dataset import BaseDataset
from batchflow.batch import Batch
from batchflow.batch.preloaded import check_batch_class, check_given_batch, n_given
from batchflow.batch.typevars import BatchT_co, OtherT
from batchflow.errors import ArgumentTypeError, did_you_mean
from batchflow.index import FilesIndex

if TYPE_CHECKING:
    from batchflow.sources.stored import StoredArrays

Path = str | os.PathLike[str]


class Dataset(BaseDataset[BatchT_co]):
    """Binds an index to a batch class and, if the dataset has some, to the data.

    Args:
        index: A `DatasetIndex`, or what one is made from (a number of items, a list of ids).
        batch_class: The class of its batches.
        preloaded: The data of all items, one row per id, in the order of the index: an array for a
            batch class without components; for one with components a tuple in their order, a
            mapping from their names, or a table with such columns. What may be given beside
            arrays, `docs/reference/data.md` says. A batch gets a copy of its rows.
        source: The object that data are read from instead, by rows: anything with `len(source)` and
            `source.read(positions)`; see `Source`.
        attributes: Attributes of the dataset and of its parts, which `D.name` reads.

    Attributes:
        index: The `DatasetIndex`.
        batch_class: The class of its batches.
        train: The part of the last `split` or `cv_split`, a dataset; None before.
        validation: The same.
        test: The same.
        shard_spec: The shard that it is; None: all items.
        classes: The texts that numbered labels stand for, where the dataset numbered them: label
            `i` is `classes[i]`. None elsewhere: labels that were given as texts stay texts.

    Raises:
        ArgumentTypeError: `batch_class` is not a batch class, the data does not fit it, or both
            `preloaded` and `source` are given.
        ArgumentValueError: The data has not as many rows as there are items; or a table, where ids
            were given, has not one row with each of them as its label.

    Example:
        >>> import numpy as np
        >>> from batchflow import ArrayBatch, Dataset
        >>> dataset = Dataset(["a", "b", "c"], ArrayBatch, preloaded=np.array([10, 20, 30]))
        >>> dataset.create_batch(["c", "a"]).data
        array([30, 10])
    """

    @classmethod
    def from_arrays(
        cls, batch_class: type[OtherT], index: Any = None, **components: Any
    ) -> Dataset[OtherT]:
        """Make a dataset of arrays with one row per item.

        Args:
            batch_class: The class of its batches.
            index: The ids; None: `0 ... n - 1`.
            components: The arrays, by the names of the components; `data` for a batch class
                without components. A component that is left out is None in every batch. What may be
                given beside arrays, `docs/reference/data.md` says.

        Raises:
            ArgumentTypeError: A component is not known, none is given, or one is nothing to read
                rows from.
            ArgumentValueError: The arrays have different lengths; or the labels of a table are not
                the ids that were given.
        """
        check_batch_class(batch_class)
        if not components:
            raise ArgumentTypeError(
                "from_arrays: give the arrays by name: from_arrays(MyBatch, images=x, labels=y)"
            )
        if set(components) == {"data"} and not batch_class.components:
            components = components["data"]
        index = n_given(components) if index is None else index
        return cls._made(index, batch_class, preloaded=components)

    @classmethod
    def from_batch(cls, batch: OtherT) -> Dataset[OtherT]:
        """Make a dataset of the items of a batch: its class, its ids, copies of its components.

        Args:
            batch: The batch. A component that is None is None in every batch of the dataset; a
                list becomes an array, of objects where the items have different shapes.

        Raises:
            ArgumentTypeError: It is no batch, or a component is not made of items.
            ArgumentValueError: A component has another length than the batch.
        """
        check_given_batch(batch)
        names = tuple(batch.components)
        values = {name: getattr(batch, name) for name in names or ("data",)}
        given: Any = {name: copy.deepcopy(v) for name, v in values.items() if v is not None}
        if not names:
            given = given.get("data")
        return cls._made(batch.index, type(batch), preloaded=given)

    @classmethod
    def from_files(
        cls,
        glob: Path | Iterable[Path],
        batch_class: type[OtherT],
        root: Path | None = None,
        labels: Any = None,
        *,
        ext: bool | str = True,
        classes: Sequence[str] | None = None,
        **others: Any,
    ) -> Dataset[OtherT]:
        """Make a dataset of files, with labels that are matched by id.

        The files are not opened: an action does that, `load(fmt=read_image, components="images")`
        or one of yours.

        Args:
            glob: A pattern, or several; see `FilesIndex`.
            batch_class: The class of the batches.
            root: Where given, ids are the paths below it: `"cat/000.jpg"`.
            labels: What fills the component `labels`: `"folder"` (the name of the folder that a
                file lies in), a mapping from ids, the path of a CSV file or a table with a column
                of ids, or a column of pandas with ids as labels. `{"y": ...}` fills another
                component. Texts become integers in the order of `dataset.classes`.
            ext: Whether ids have the extensions of the files; see `FilesIndex`.
            classes: The texts in the order of their numbers, such as `training.classes`, where
                labels of several datasets are to have the same numbers. None: those that are
                there, sorted.
            others: More components, by id as `labels`, but for texts, which stay texts. A text
                with `{id}` in it gives the paths of other files: `masks="masks/{id}.png"`; the id
                stands there with its extension, or without it.

        Raises:
            ArgumentValueError: No file matches, items have no label, or one that is none of the
                classes, or a path leads to no file.
            ArgumentTypeError: The class has no such component.

        Warns:
            UserWarning: Some labels belong to no item.

        Example:
            >>> from batchflow import Batch, Dataset
            >>> class Modules(Batch):
            ...     components = "text", "labels"
            >>> dataset = Dataset.from_files(
            ...     "batchflow/*/*.py", Modules, root="batchflow", labels="folder"
            ... )
            >>> "engine" in dataset.classes, "interop" in dataset.classes
            (True, True)
        """
        from batchflow.sources.labels import components_by_id  # on use, for a light import

        check_batch_class(batch_class)
        index = FilesIndex(glob, root=root, ext=ext)
        ids = index.indices.tolist()
        paths = [index.get_fullpath(item) for item in ids] if root is None else None
        columns, found = components_by_id(
            ids, paths, labels, others, batch_class.components, classes
        )
        dataset = cls._made(index, batch_class, preloaded=columns or None)
        dataset.classes = found
        return dataset

    @classmethod
    def from_dataframe(
        cls, frame: Any, batch_class: type[OtherT], index: Any = None, **components: Any
    ) -> Dataset[OtherT]:
        """Make a dataset of a table in memory: of pandas, polars or Arrow.

        Args:
            frame: The table.
            batch_class: The class of the batches.
            index: The column with the ids; None: the labels of a pandas table, unless these are
                just the numbers of the rows. Without ids, items are counted.
            components: By component a column, a list of columns (an array of shape
                `(n_items, n_columns)`), or a function that takes the table and returns a column or
                an array. None given: the columns that have the names of components.

        Raises:
            ArgumentTypeError: It is no table in memory, or no column has the name of a component.
            ArgumentValueError: Ids occur twice.
            UnknownNameError: (a `KeyError`) There is no such column.

        Example:
            >>> import pandas as pd
            >>> from batchflow import ArrayBatch, Dataset
            >>> class People(ArrayBatch):
            ...     components = "features", "labels"
            >>> table = pd.DataFrame({"id": ["a", "b"], "age": [31, 47], "kg": [70.5, 81.0]})
            >>> dataset = Dataset.from_dataframe(
            ...     table, People, index="id", features=["age", "kg"], labels=lambda t: t.age > 40
            ... )
            >>> dataset.create_batch(["b"]).features
            array([[47., 81.]])
        """
        from batchflow.sources import frames  # on use, for a light import

        check_batch_class(batch_class)
        columns = column_names(frames.checked_table(frame))
        known = batch_class.components or ("data",)
        specs = frames.specs_of(components, known, columns, "from_dataframe")
        frame, ids = frames.named_ids(frame, index)
        given = {name: frames.values_of(frame, spec) for name, spec in specs.items()}
        return cls.from_arrays(batch_class, ids, **given)

    @classmethod
    def from_parquet(
        cls,
        glob: Path | Iterable[Path],
        batch_class: type[OtherT],
        index: str | None = None,
        **components: Any,
    ) -> Dataset[OtherT]:
        """Make a dataset of Parquet files, which are read by row groups and never as a whole.

        Args:
            glob: A pattern of paths, or several. Files are taken in the order of their paths.
            batch_class: The class of the batches.
            index: The column with the ids; None: items are counted.
            components: By component a column, a list of columns, or a function that takes the rows
                of a batch as an Arrow table. None given: the columns that have the names of
                components.

        Raises:
            MissingPackageError: PyArrow is not installed.
            ArgumentValueError: No file matches, or the files have different columns.
            UnknownNameError: (a `KeyError`) There is no such column.
        """
        from batchflow.sources.parquet import ParquetSource, parquet_files

        known = _known(batch_class, components)
        source = ParquetSource(parquet_files(glob), components, known)
        ids = len(source) if index is None else source.column(index)
        return cls._made(ids, batch_class, source=source)

    @classmethod
    def from_sql(
        cls,
        connect: Callable[[], Any],
        query: str,
        batch_class: type[OtherT],
        index: str | None = None,
        *,
        params: Sequence[Any] | Mapping[str, Any] = (),
        **components: Any,
    ) -> Dataset[OtherT]:
        """Make a dataset of the rows that a query gives. A batch reads its rows by their ids.

        Args:
            connect: A function without arguments that opens a connection, as Python's DB-API
                (PEP 249) knows them. It is called in each thread and worker process that reads.
            query: A SELECT statement.
            batch_class: The class of the batches.
            index: The column with the ids; None: the first one. An index of the database on it
                makes batches fast.
            params: Parameters of the query, bound by the database.
            components: By component a column, a list of columns, or a function that takes the rows
                of a batch as a mapping from columns to arrays. None given: the columns that have
                the names of components.

        Raises:
            ArgumentValueError: The query gives no rows, or an id twice or NULL.
            UnknownNameError: (a `KeyError`) There is no such column.

        Example:
            >>> import sqlite3
            >>> from batchflow import ArrayBatch, Dataset
            >>> class Points(ArrayBatch):
            ...     components = "x"
            >>> dataset = Dataset.from_sql(
            ...     lambda: sqlite3.connect(":memory:"), "SELECT 7 AS id, 1.5 AS x", Points
            ... )
            >>> dataset.create_batch([7]).x
            array([1.5])
        """
        from batchflow.sources.sql import SqlSource

        known = _known(batch_class, components)
        source = SqlSource(connect, query, params, index, components, known)
        return cls._made(source.ids, batch_class, source=source)

    @classmethod
    def from_hdf5(
        cls, path: Path, batch_class: type[OtherT], index: str | None = None, **components: str
    ) -> Dataset[OtherT]:
        """Make a dataset of arrays in an HDF5 file. A batch reads its rows alone.

        Args:
            path: The file. Each worker process opens it for itself.
            batch_class: The class of the batches.
            index: The name of the array with the ids; None: items are counted.
            components: The names of the arrays: `images="/train/x"`. None given: the names of the
                components.

        Raises:
            MissingPackageError: h5py is not installed.
            FileNotFoundError: There is no such file.
            ArgumentValueError: The arrays have different numbers of rows; while it runs: the file
                was changed.
            UnknownNameError: (a `KeyError`) There is no such array.
        """
        from batchflow.sources.hdf5 import Hdf5Source

        return cls._of_stored(Hdf5Source, path, batch_class, index, components)

    @classmethod
    def from_zarr(
        cls, path: Path, batch_class: type[OtherT], index: str | None = None, **components: str
    ) -> Dataset[OtherT]:
        """Make a dataset of arrays in a Zarr group, a folder or a zip file.

        Takes the arguments of `from_hdf5`, and raises its errors. For a single array its name is
        `"/"`.
        """
        from batchflow.sources.zarr import ZarrSource

        return cls._of_stored(ZarrSource, path, batch_class, index, components)

    @classmethod
    def from_items(
        cls, items: Any, batch_class: type[OtherT], components: Any = None, index: Any = None
    ) -> Dataset[OtherT]:
        """Make a dataset of an object with `len(items)` and `items[position]`.

        Such are the data sets of Hugging Face and torch, and lists; in the PyDataset of Keras each
        item is a batch. Several items are read in one call, where the object has `__getitems__` or
        takes lists. It is read from several threads, and travels to worker processes. Values have
        the dtype of the first item; one that does not fit it is an error.

        Args:
            items: The object. An item is a mapping (or has fields: a named tuple, a dataclass), a
                tuple, or one value.
            batch_class: The class of the batches.
            components: The components in the order of the values of a tuple, or a mapping from them
                to keys, to places in a tuple, or to functions of an item. None: those of the class.
            index: The ids; None: items are counted.

        Raises:
            ArgumentTypeError: The object has no items by position, or they do not fit the class.
            UnknownNameError: (a `KeyError`) The items have no such key.

        Example:
            >>> from batchflow import ArrayBatch, Dataset
            >>> class Points(ArrayBatch):
            ...     components = "x", "y"
            >>> Dataset.from_items([(1, 2.5), (3, 4.5)], Points).create_batch([1]).y
            array([4.5])
        """
        from batchflow.sources.items import ItemsSource, names_of

        source = ItemsSource(items, components, _known(batch_class, names_of(components)))
        return cls._made(len(source) if index is None else index, batch_class, source=source)

    mix = classmethod(mixing.mix)

    @classmethod
    def _of_stored(
        cls, kind: type[StoredArrays], path: Path, batch_class: type[OtherT], index: Any, names: Any
    ) -> Dataset[OtherT]:
        known = _known(batch_class, names)
        source = kind(path, names or {name: name for name in known})
        ids = len(source) if index is None else kind(path, {"index": index}).all_rows("index")
        return cls._made(ids, batch_class, source=source)

    @classmethod
    def _made(cls, index: Any, batch_class: type[OtherT], **given: Any) -> Dataset[OtherT]:
        make: type[Dataset[Any]] = cls
        return make(index, batch_class, **given)


def _known(batch_class: type[Batch], given: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the components of a class, or the name of its data; refuse names that are others."""
    check_batch_class(batch_class)
    known = tuple(batch_class.components) or ("data",)
    if unknown := [name for name in given if name not in known]:
        raise ArgumentTypeError(
            f"{batch_class.__name__} has no component {unknown[0]!r}."
            f"{did_you_mean(unknown[0], known)}"
        )
    return known
