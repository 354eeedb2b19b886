"""The action `load`: fills a batch from memory, from another batch or from files.

Guarantees:
    - An item is found by its id, or by its position in the index of its dataset; an id is never
      taken for a position.
    - What the batch gets is its own: work in place on it reaches no source.
    - No file can run code or inflate without bounds: `.npy` and `.npz` are read without pickles,
      sizes are checked before anything is made of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from batchflow.arrays import column_names, is_column, is_table
from batchflow.batch.components import check_new_component, set_component
from batchflow.batch.core import BaseBatch
from batchflow.batch.regroup import rows_of
from batchflow.batch.rows import as_rows, column_rows, n_rows, own, take_rows
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.index.labels import checked_labels, has_labels, positions_by_label
from batchflow.index.lookup import plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions

B = TypeVar("B", bound=BaseBatch)
Reader = Callable[[Any], tuple[Any, ...]]

_FORMATS = ("npy", "npz")
_MOST_INFLATED = 2**30  # bytes of arrays in one .npz file: 1 MB on disk can hold that much


def load(
    batch: B,
    src: Any = None,
    fmt: str | Callable[[Any], Any] | None = None,
    components: str | Sequence[str] | None = None,
    *,
    dst: str | Sequence[str] | None = None,
) -> B:
    """Fill the batch, or some of its components.

    From memory, without `fmt`. `src` is one of:

    - an array or a list with one row for each item of the *dataset*, in the order of its index (in
      a batch without a dataset: one for each of its items); an array of h5py or Zarr is read by the
      batch's rows only;
    - a column or table of pandas, whose rows go to the items whose ids are their labels. Where the
      dataset was made without ids they go by position, as those of an array;
    - a tuple of these, one for each component, or a mapping or table with them by name;
    - a mapping from ids to items;
    - another batch with the same ids, or a tuple of batches, one for each component: the batches
      that `join` passes. Taken are its components of the same names; for a single component also
      the data, or the only component, of the other batch.

    From files, one for each item. `fmt` is `"npy"`, `"npz"` or a function that takes a path and
    gives the item (for several components, a tuple with their parts of it). `src` is the folder
    of the files, `src/<id>.npy`, for a function `src/<id>`; or a function that takes an id and
    gives its path; or None where the items are files (`FilesIndex`). The arrays in an `.npz` file
    are named as the components; a single one may have any name. Other formats (csv, feather,
    hdf5, blosc, images) are read by a function: `load(src=folder, fmt=read_image)`.

    A batch gets copies. An `ArrayBatch` stacks the items; other batches hold what comes from
    mappings and files as lists.

    Args:
        batch: The batch (`self` of the action).
        src: Where the data is.
        fmt: How to read files.
        components: The names of the components to fill; None: all.
        dst: The same; one that the class does not have is added to the batch.

    Returns:
        The batch.

    Raises:
        ArgumentTypeError: `src` is nothing to load from, or `fmt` is no format.
        ArgumentValueError: `src` has another number of rows, or an `.npz` file inflates to more
            than 1 GiB.
        UnknownNameError: (a `KeyError`) An id or a component is not known.
        Exception: What a file or a function raises, with a note that names the item and the path.

    Example:
        >>> from batchflow import ArrayBatch, Dataset
        >>> dataset = Dataset(["a", "b", "c"], ArrayBatch)
        >>> dataset.create_batch(["c", "a"]).load([10, 20, 30]).data
        array([30, 10])
    """
    if dst is not None and components is not None:
        raise ArgumentTypeError("load: dst is another name of components: give one of them")
    components = components if dst is None else dst
    names = _checked_names(batch, components, adds=dst is not None)
    if _is_tuple_of_one(batch, src, components, names):
        src = src[0]
    is_chosen = components is not None
    for name, value in (
        _from_memory(batch, src, names, chosen=is_chosen)
        if fmt is None
        else _from_files(batch, src, fmt, names)
    ).items():
        set_component(batch, name, value)
    return batch


def _is_tuple_of_one(batch: BaseBatch, src: Any, components: Any, names: tuple[str, ...]) -> bool:
    """Check whether `src` is a tuple of sources, one for each component, and there is one."""
    if not isinstance(src, tuple) or len(src) != 1 or len(names) != 1 or n_rows(src[0]) is None:
        return False
    index = batch.index if batch.dataset is None else batch.dataset.index
    return isinstance(components, (tuple, list)) or not len(src) == len(index) != n_rows(src[0])


def _checked_names(batch: BaseBatch, components: Any, *, adds: bool) -> tuple[str, ...]:
    known = tuple(batch.components) or ("data",)
    if components is None:
        return known
    names = (components,) if isinstance(components, str) else tuple(components)
    for name in names:
        if name in known:
            continue
        hint = did_you_mean(name, known, only_near=adds and bool(batch.components))
        if hint or not adds:
            raise UnknownNameError(
                f"load: a {type(batch).__name__} has no component {name!r}.{hint}"
            )
        check_new_component(batch, name)
    return names


# ---- from memory


def _from_memory(
    batch: BaseBatch, src: Any, names: tuple[str, ...], *, chosen: bool
) -> dict[str, Any]:
    if isinstance(src, BaseBatch):
        return _from_batch(batch, src, names, chosen=chosen)
    if isinstance(src, tuple) and src and all(isinstance(part, BaseBatch) for part in src):
        taken: dict[str, Any] = {}
        for name, part in zip(names, _one_each(src, names), strict=True):
            taken |= _from_batch(batch, part, (name,), chosen=True)
        return taken
    if src is None or callable(src) or isinstance(src, (str, bytes, os.PathLike)):
        raise ArgumentTypeError(
            f"load: {src!r:.60} is no data in memory. To read files say how: "
            'load(src=folder, fmt="npy"), fmt="npz" or fmt=a function of a path'
        )
    if isinstance(src, Mapping):
        are_all_components = bool(src) and set(src) <= set(batch.components)
        if not are_all_components and not (chosen and set(names) <= set(src)):
            return _by_id(batch, src, names)
        names = names if chosen else tuple(src)
    columns = _columns(src, names)
    if not (batch.index if batch.dataset is None else batch.dataset.index).is_given:
        before = batch._labels or getattr(getattr(batch.dataset, "_data", None), "labels", None)
        batch._labels = checked_labels(columns.items(), before)
    return {
        name: _copied_rows(batch, column, f"load: {type(batch).__name__}.{name}")
        for name, column in columns.items()
    }


def _columns(src: Any, names: tuple[str, ...]) -> dict[str, Any]:
    known = [*src] if isinstance(src, Mapping) else column_names(src) if is_table(src) else []
    if isinstance(src, Mapping) or set(names) <= set(known):
        for name in names:
            if name not in known:
                raise UnknownNameError(f"load: no component {name!r} in src.{_known(known)}")
        return {name: src[name] for name in names}
    if len(names) == 1:
        return {names[0]: src}
    return dict(zip(names, _one_each(src, names), strict=True))


def _one_each(src: Any, names: tuple[str, ...]) -> Sequence[Any]:
    if isinstance(src, (tuple, list)) and len(src) == len(names):
        return src
    got = f"{len(src)} of them" if isinstance(src, (tuple, list)) else type(src).__name__
    raise ArgumentTypeError(
        f"load: to fill the components {', '.join(names)} give a tuple with one source for each, "
        f"or a mapping from their names; got {got}. To fill some of them: components=..."
    )


def _rows_in_source(batch: BaseBatch) -> tuple[Positions, int]:
    """Return the rows of the batch's items in a source, and how many rows that must have."""
    if batch._mixed:
        raise ArgumentValueError(
            f"load: the items of {batch!r} come from several datasets, so their rows are not "
            "known. Load before they are merged, or from a mapping of ids"
        )
    if batch.dataset is None:
        return slice(0, len(batch)), len(batch)
    index = batch.dataset.index
    return index.get_pos(batch.source_ids), len(index)


def _copied_rows(batch: BaseBatch, column: Any, shown: str) -> Any:
    index = batch.index if batch.dataset is None else batch.dataset.index
    positions: Positions
    if index.is_given and has_labels(column):
        positions = positions_by_label(column, _source_ids(batch), shown)
    else:
        if not is_column(column) and not isinstance(column, (list, tuple)):
            column = as_rows(column, shown)
        positions, expected = _rows_in_source(batch)
        if (has := n_rows(column)) != expected:
            raise ArgumentValueError(
                f"{shown}: expected one row for each of the {expected} items of the dataset (of "
                f"the batch, where it has no dataset), got {has} rows. If these are the rows of "
                "this batch, assign them to its attribute; for part of a dataset give a mapping "
                "from ids to rows, or a table whose labels are the ids"
            )
    if is_column(column):
        return own(column_rows(column, positions))
    return own(take_rows(column, positions, shown))


def _by_id(batch: BaseBatch, src: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    ids = plain(_source_ids(batch))
    for item in ids:
        if item not in src:
            parts = " or from components to rows" if batch.components else ""
            known = [key for key in src if key in batch.components]
            words = [key for key in src if isinstance(key, str) and key not in known]
            hint = did_you_mean(words[0], batch.components, only_near=True) if words else ""
            if known and not hint:
                hint = f" To fill some of them: components={tuple(known)}"
            raise UnknownNameError(
                f"load: src has no item with the id {item!r}; a mapping goes from ids to items"
                f"{parts}.{hint}"
            )
    items = _spread([src[item] for item in ids], names)
    return {name: own(values) for name, values in items.items()}


def _from_batch(
    batch: BaseBatch, src: BaseBatch, names: tuple[str, ...], *, chosen: bool
) -> dict[str, Any]:
    common = tuple(name for name in names if name in src.components)
    if len(names) == 1 and not common and len(src.components) <= 1:
        values = {names[0]: getattr(src, src.components[0] if src.components else "data")}
    else:
        wanted = names if chosen or not common else common
        missing = [name for name in wanted if name not in src.components]
        if missing:
            raise UnknownNameError(
                f"load: {src!r} has no component {missing[0]!r}; say which to fill, for instance "
                f"components={(common or names)[0]!r}"
            )
        values = {name: getattr(src, name) for name in wanted}
    try:
        positions = src.index.get_pos(plain(batch.indices))
    except UnknownNameError as error:
        error.add_note(f"while load looked for the items of {batch!r} in {src!r}")
        raise
    taken = {}
    for name, value in values.items():
        if value is None:
            raise ArgumentValueError(f"load: {src!r} has no data for {name!r} yet (None)")
        taken[name] = own(rows_of(value, positions, len(src), f"load: {name} of {src!r}"))
    return taken


# ---- from files


def _from_files(batch: BaseBatch, src: Any, fmt: Any, names: tuple[str, ...]) -> dict[str, Any]:
    read = _reader(fmt, names)
    items = []
    for item, path in _paths(batch, src, fmt):
        try:
            items.append(read(path))
        except Exception as error:
            is_far = isinstance(error, FileNotFoundError) and not os.path.isabs(path)
            where = f" (looked in {os.getcwd()})" if is_far else ""
            error.add_note(f"while load read the item {item!r} from {os.fspath(path)!r}{where}")
            raise
    return {name: [item[place] for item in items] for place, name in enumerate(names)}


def _reader(fmt: Any, names: tuple[str, ...]) -> Reader:
    if fmt == "npy":
        if len(names) > 1:
            raise ArgumentValueError(
                f"load: an .npy file holds one array; of {', '.join(names)} name the component "
                f'to fill: components={names[0]!r}, or use fmt="npz"'
            )
        return lambda path: (_read_npy(path),)
    if fmt == "npz":
        return lambda path: _read_npz(path, names)
    if callable(fmt):
        return lambda path: tuple(value[0] for value in _spread([fmt(path)], names).values())
    if isinstance(fmt, str):
        raise ArgumentValueError(
            f'load reads "npy" and "npz" by itself, not {fmt!r}.'
            f"{did_you_mean(fmt, _FORMATS, only_near=True)} For other formats give a function of a "
            "path: load(src=folder, fmt=read_image)"
        )
    raise ArgumentTypeError(f'load: fmt is "npy", "npz" or a function of a path, got {fmt!r:.60}')


def _are_files(index: Any) -> bool:
    return hasattr(type(index), "get_fullpath")  # a FilesIndex, or several that are mixed


def _paths(batch: BaseBatch, src: Any, fmt: Any) -> list[tuple[Any, Any]]:
    """Return the ids of the items and the paths of their files."""
    ids = plain(_source_ids(batch))
    if src is None:
        index = batch.index
        if not _are_files(index) and batch.dataset is not None and not batch._mixed:
            index = batch.dataset.index  # a merged batch may have lost its own
        if not _are_files(index):
            raise ArgumentTypeError(
                "load: src is the folder of the files, or a function that takes an id and gives a "
                f"path; only where the items are files (FilesIndex) it may be left out, and "
                f"{batch!r} has a {type(batch.index).__name__}"
            )
        return [(item, index.get_fullpath(item)) for item in ids]
    if callable(src):
        return [(item, src(item)) for item in ids]
    if not isinstance(src, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"load: with fmt, src is a folder or a function that takes an id and gives a path, "
            f"got {type(src).__name__} {src!r:.60}"
        )
    ending = f".{fmt}" if isinstance(fmt, str) else ""
    return [(item, os.path.join(os.fspath(src), f"{item}{ending}")) for item in ids]


def _read_npy(path: Any) -> Any:
    # Mapped first: this refuses objects, and a header that promises more than the file has.
    return np.array(np.lib.format.open_memmap(path, mode="r"))


def _read_npz(path: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    import zipfile  # on use

    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if len(names) == len(members) == 1:
            chosen = list(members.values())
        else:
            for name in names:
                if name not in members:
                    raise UnknownNameError(f"no array {name!r} in the file.{_known(members)}")
            chosen = [members[name] for name in names]
        # What is read from a member never exceeds its declared size.
        size = sum(info.file_size for info in chosen)
        if size > _MOST_INFLATED:
            raise ArgumentValueError(
                f"the file declares {size:,} bytes of arrays in {os.path.getsize(path):,}; load "
                f"inflates up to {_MOST_INFLATED:,}. If you trust it, read it by a function: "
                'fmt=lambda path: np.load(path)["name"]'
            )
        arrays = []
        for info in chosen:
            with archive.open(info) as file:
                arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    return tuple(arrays)


# ---- both


def _spread(items: list[Any], names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the parts of items by component: of a tuple, where there are several."""
    if len(names) == 1:
        return {names[0]: items}
    for item in items:
        if not isinstance(item, tuple) or len(item) != len(names):
            raise ArgumentTypeError(
                f"load: an item for the components {', '.join(names)} is a tuple of {len(names)}, "
                f"got {type(item).__name__} {item!r:.60}. To fill one: components=..."
            )
    return {name: [item[place] for item in items] for place, name in enumerate(names)}


def _source_ids(batch: BaseBatch) -> npt.NDArray[Any]:
    if batch._mixed and batch._source_ids is not None:
        raise ArgumentValueError(
            f"load: the items of {batch!r} come from several datasets, which have common ids; "
            "load before they are merged"
        )
    ids: npt.NDArray[Any] = batch.source_ids
    return ids


def _known(names: Any) -> str:
    return did_you_mean("", map(str, names))
