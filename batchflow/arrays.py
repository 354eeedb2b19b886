"""Lists to arrays, and arrays to wider dtypes, without a change of any value.

Guarantees:
    - A list becomes an array of numbers, bools, dates or records only if each element comes back
      equal and of its kind. Otherwise the array holds the elements themselves, as objects.
    - A number may become a wider kind of number, as long as it stays exactly equal. A bool is no
      number.
    - Texts and bytes are kept as objects: an array of fixed width cuts NUL at their ends, and takes
      the width of the longest for each.
    - Only lists, tuples and ranges are iterated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_SEQUENCES = frozenset({list, tuple, range})
_BOOLS = frozenset({bool, np.bool_})
_NUMBERS = frozenset({int, float, complex})
_TEXTS = (frozenset({str, np.str_}), frozenset({bytes, np.bytes_}))
_TENSORS = frozenset({"torch", "tensorflow", "jax", "jaxlib"})
# Kinds of dtypes whose values are of one kind: numbers, bools, texts, bytes, dates, durations.
_GROUPS = {kind: name for name in ("iufc", "b", "UT", "S", "M", "m") for kind in name}
TEXT_BYTES = 80  # of a text as an object, beyond its characters
# Types of immutable values, of which a reference is as good as a copy.
IMMUTABLE = frozenset({str, bytes, int, float, complex, bool, type(None)})


def package_of(value: Any) -> str:
    """Return the name of the package that the type of a value comes from."""
    return type(value).__module__.partition(".")[0]


def is_table(value: Any) -> bool:
    """Check whether a value is a table with columns by name: of pandas, polars or Arrow."""
    has_columns = hasattr(value, "columns") or (
        package_of(value) == "pyarrow" and hasattr(value, "column_names")
    )
    return has_columns and hasattr(value, "__getitem__")


def is_column(value: Any) -> bool:
    """Check whether a value is a column of a table: of pandas, polars or Arrow."""
    return hasattr(value, "to_numpy") and not is_table(value)


def column_array(column: Any) -> npt.NDArray[Any]:
    """Return an array of a column. Missing values stay missing, and texts keep their ends."""
    if keeps_objects(column):
        return object_array(column_items(column))
    width = getattr(getattr(column, "type", None), "list_size", None)  # of Arrow
    if width is not None:
        whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        flat = column_array(whole.flatten())
        if not flat.dtype.hasobject:
            return flat.reshape(len(column), width, *flat.shape[1:])
    array = plain_array(column)
    return object_array(column_items(column)) if array.dtype.kind in "US" else array


def column_names(table: Any) -> list[Any]:
    """Return the names of the columns of a table."""
    return list(table.column_names if package_of(table) == "pyarrow" else table.columns)


def table_array(table: Any) -> npt.NDArray[Any]:
    """Return an array of shape `(n_rows, n_columns)` of a table."""
    # Two columns may have one name.
    columns = [
        column_array(table.iloc[:, k] if hasattr(table, "iloc") else table[name])
        for k, name in enumerate(column_names(table))
    ]
    if not columns:
        return np.empty((len(table), 0))
    dtype = common_dtype(columns)
    return np.stack([widened(column, dtype) for column in columns], axis=1)


def keeps_objects(column: Any) -> bool:
    """Check whether an array of a column would lose missing values, time zones or fields."""
    if hasattr(column, "isna"):  # pandas: arrays of its own types have NaN for what is missing
        return not isinstance(column.dtype, np.dtype) and bool(column.isna().any())
    zone = getattr(column, "dtype", None), getattr(column, "type", None)
    has_zone = any(getattr(t, "time_zone", None) or getattr(t, "tz", None) for t in zone)
    is_record = package_of(column) == "polars" and bool(getattr(column.dtype, "fields", None))
    # In records and maps of Arrow, NumPy has floats for whole numbers beside missing ones.
    arrow_type = str(getattr(column, "type", ""))
    is_record = is_record or "struct<" in arrow_type or "map<" in arrow_type
    return has_nulls(column) or has_zone or is_record


def has_nulls(column: Any) -> bool:
    """Check whether values of a column of polars or Arrow are missing, also in lists of Arrow."""
    nulls = getattr(column, "null_count", 0)
    if nulls() if callable(nulls) else nulls:
        return True
    is_list = "list" in str(getattr(column, "type", "")).partition("<")[0]
    return is_list and any(has_nulls(c.flatten()) for c in getattr(column, "chunks", [column]))


def column_items(column: Any) -> list[Any]:
    """Return the values of a column as objects."""
    if hasattr(column, "isna"):
        return list(column.to_numpy(dtype=object))
    if getattr(getattr(column, "dtype", None), "time_unit", None) == "ns":
        column = column.to_arrow()  # of polars, whose lists of dates lose the nanoseconds
    items: list[Any] = column.to_list() if hasattr(column, "to_list") else column.to_pylist()
    return items


def is_tensor(value: Any) -> bool:
    """Check whether a value is a tensor of torch, TensorFlow or JAX."""
    return package_of(value) in _TENSORS and hasattr(value, "shape") and hasattr(value, "dtype")


def is_sparse(value: Any) -> bool:
    """Check whether a value is a sparse matrix or array of SciPy."""
    return hasattr(value, "tocsr") and hasattr(value, "nnz")


def plain_array(value: Any) -> npt.NDArray[Any]:
    """Return a value as an array of NumPy's own class, or a masked one: masks are data."""
    array: npt.NDArray[Any] = np.asanyarray(value)
    is_plain = type(array) is np.ndarray or isinstance(array, np.ma.MaskedArray)
    return array if is_plain else array.view(np.ndarray)


def object_array(items: Sequence[Any]) -> npt.NDArray[Any]:
    """Return an array of shape `(n_items,)` that holds the items themselves."""
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    return array


def is_array_like(value: Any) -> bool:
    """Check whether NumPy reads a value as an array: an array, a tensor, an image of Pillow."""
    if isinstance(value, np.ndarray):
        return True
    reads = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    return reads and not hasattr(value, "iloc")  # a table would lose its labels


def ragged_shapes(items: Sequence[Any]) -> list[tuple[int, ...] | None]:
    """Return the shapes of elements that cannot be stacked because their shapes differ.

    Returns:
        An empty list if no element is an array, a tensor or a nested list of numbers, or if all
        have one shape. Otherwise a shape for each element; None for a list that is ragged itself.
    """
    shapes = [_shape_of(item) for item in items]
    if None not in shapes and len(set(shapes)) < 2:
        return []
    return shapes if any(map(_is_stackable, items)) else []


def _shape_of(item: Any) -> tuple[int, ...] | None:
    if type(item) in _SEQUENCES:
        shapes = {_shape_of(part) for part in item}
        if len(shapes) > 1 or None in shapes:
            return None
        return (len(item), *(shapes.pop() or ())) if shapes else (0,)
    shape = getattr(item, "shape", None)
    if shape is None and is_array_like(item):
        return plain_array(item).shape  # an image of Pillow
    return tuple(shape) if isinstance(shape, (tuple, list)) else ()


def _is_stackable(item: Any) -> bool:
    if type(item) in _SEQUENCES:
        return len(item) > 0 and all(_is_stackable(p) or _is_number(type(p)) for p in item)
    return is_array_like(item) and _shape_of(item) != ()


def exact_array(items: Sequence[Any], *, reads_tensors: bool = False) -> npt.NDArray[Any]:
    """Return a list as an array, by the guarantees of this module.

    Args:
        items: A list, a tuple or a range. Nested ones of one shape become more dimensions.
        reads_tensors: Whether other elements that NumPy can read (tensors, images of Pillow) are
            stacked like arrays of NumPy.

    Returns:
        An array of shape `(n_items, ...)`; of shape `(n_items,)` if it holds objects.

    Example:
        >>> exact_array([1, 2.5]), exact_array([True, 2])
        (array([1. , 2.5]), array([True, 2], dtype=object))
    """
    if type(items) is range:
        return np.arange(items.start, items.stop, items.step)
    shape: tuple[int, ...] = (len(items),)
    level: Sequence[Any] = items
    kinds = set(map(type, level))
    while kinds and kinds <= _SEQUENCES and len(sizes := set(map(len, level))) == 1:
        shape += tuple(sizes)
        level = list(chain.from_iterable(level))
        kinds = set(map(type, level))
    flat = _flat(level, kinds, reads_tensors)
    if flat is None or (flat.dtype.hasobject and len(shape) > 1):
        return object_array(items)
    return flat.reshape(shape + flat.shape[1:])


def _flat(level: Sequence[Any], kinds: set[type], reads_tensors: bool) -> npt.NDArray[Any] | None:
    """Return the array of elements that are no lists; None if they must be kept as objects."""
    if kinds <= _BOOLS:
        return np.array(level, dtype=bool if level else float)
    if all(map(_is_number, kinds)):
        return _numbers(level, kinds)
    if any(kinds <= texts for texts in _TEXTS):
        return object_array(level)
    if kinds <= {np.void} or kinds <= {np.datetime64} or kinds <= {np.timedelta64}:
        return _of_one_dtype(level)
    if any(issubclass(kind, np.ndarray) for kind in kinds) or (
        reads_tensors and any(map(is_array_like, level))
    ):
        return _stacked(level, reads_tensors)
    return None


def _is_number(kind: type) -> bool:
    # To NumPy a duration is a whole number.
    return kind in _NUMBERS or (
        issubclass(kind, np.number) and not issubclass(kind, np.timedelta64)
    )


def _numbers(level: Sequence[Any], kinds: set[type]) -> npt.NDArray[Any] | None:
    try:
        array = np.array(level)
    except OverflowError:
        return None
    if array.dtype.hasobject:
        return None
    if len(kinds) == 1 and (kinds != {int} or array.dtype.kind in "iu"):
        return array
    pairs = zip(array.tolist(), level, strict=True)
    return array if all(_is_same_number(a, b) for a, b in pairs) else None


def _is_same_number(one: Any, other: Any) -> bool:
    if isinstance(other, np.generic):
        other = other.item()  # Python compares integers and floats exactly, NumPy does not
    return bool(one == other) or (one != one and other != other)


def _of_one_dtype(level: Sequence[Any]) -> npt.NDArray[Any] | None:
    dtypes = {item.dtype for item in level if not _is_bare_nat(item)}
    return np.array(level, dtype=dtypes.pop() if dtypes else None) if len(dtypes) < 2 else None


def _is_bare_nat(item: Any) -> bool:
    """Check whether it is a NaT without a unit, which any unit can hold."""
    return item.dtype.kind in "mM" and np.datetime_data(item.dtype)[0] == "generic"


def _stacked(level: Sequence[Any], reads_tensors: bool) -> npt.NDArray[Any] | None:
    arrays = []
    for item in level:
        if isinstance(item, np.ndarray) or (reads_tensors and is_array_like(item)):
            arrays.append(plain_array(item))
        elif type(item) in _SEQUENCES:
            arrays.append(exact_array(item, reads_tensors=reads_tensors))
        elif _is_number(type(item)):
            arrays.append(np.asarray(item))
        else:
            return None
    if len({array.shape for array in arrays}) > 1 or any(a.dtype.hasobject for a in arrays):
        return None
    joined = joined_arrays([array[np.newaxis] for array in arrays])
    return None if joined is None or joined.dtype.hasobject else joined


# ---- arrays of several dtypes


def common_dtype(arrays: Iterable[npt.NDArray[Any]]) -> np.dtype[Any] | None:
    """Return the dtype that holds the values of all arrays exactly; None if only objects do."""
    given = list(arrays)
    dtypes = list(dict.fromkeys(array.dtype for array in given))
    if len(dtypes) == 1:
        return dtypes[0]
    if len({_GROUPS.get(dtype.kind) for dtype in dtypes}) > 1 or dtypes[0].kind not in _GROUPS:
        return None
    try:
        wide: np.dtype[Any] = reduce(np.promote_types, dtypes)
    except (TypeError, OverflowError):
        return None
    if wide.kind in "US" and not _is_compact(wide, given):
        return None
    return wide if all(_fits(array, wide) for array in given) else None


def _is_compact(dtype: np.dtype[Any], arrays: Sequence[npt.NDArray[Any]]) -> bool:
    """Check whether texts of fixed width take at most about twice their content, and 80 bytes."""
    n_texts = sum(array.size for array in arrays)
    room = dtype.itemsize - TEXT_BYTES
    if room <= 0:
        return True
    content = sum(int(np.strings.str_len(array).sum()) for array in arrays)
    return room * n_texts <= 2 * content


def _fits(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Check whether the values of an array stay equal in a dtype of the same group."""
    of = array.dtype
    if of == dtype or (of.kind == dtype.kind and of.kind not in "mM"):
        return True
    if of.kind in "fcUT" or (of.kind in "iu" and (dtype.kind in "iu" or of.itemsize <= 4)):
        return True  # NumPy promotes these without loss
    with np.errstate(all="ignore"):
        there = array.astype(dtype)
        back = (there.real if dtype.kind == "c" else there).astype(of)
    same = back == array
    if of.kind in "mM":
        same |= np.isnat(array)
    elif dtype.kind in "fc" and array.size:
        # The highest integers round up to a float beyond their range.
        same &= np.abs(there) < 2.0 ** (8 * of.itemsize - (of.kind == "i"))
    return bool(np.all(same))


def widened(array: npt.NDArray[Any], dtype: np.dtype[Any] | None) -> npt.NDArray[Any]:
    """Return an array in another dtype; None: as objects, each of its kind."""
    if dtype is not None:
        return array.astype(dtype, copy=False)
    if isinstance(array, np.ma.MaskedArray):
        return np.ma.MaskedArray(widened(array.data, None), array.mask)
    # As dates of Python they would lose their unit.
    items = list(array.flat) if array.dtype.kind in "mMV" else array.ravel().tolist()
    return object_array(items).reshape(array.shape)


def joined_arrays(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return arrays joined along their first axis. All have one shape beyond it.

    Raises:
        TypeError: The arrays hold records of different fields.
    """
    masked = [array for array in arrays if isinstance(array, np.ma.MaskedArray)]
    concatenate: Callable[..., Any] = np.ma.concatenate if masked else np.concatenate
    dtype: np.dtype[Any] | None = arrays[0].dtype
    if all(array.dtype == dtype for array in arrays):
        joined: npt.NDArray[Any] = concatenate(arrays)
        if joined.dtype != dtype:  # NumPy converts numbers to the byte order of the machine
            joined = joined.astype(dtype)
        if masked and all(array.fill_value == masked[0].fill_value for array in masked):
            joined.fill_value = masked[0].fill_value  # type: ignore[attr-defined]
        return joined
    dtype = common_dtype(arrays)
    if dtype is None and any(array.dtype.kind == "V" for array in arrays):
        raise TypeError(f"records of {', '.join(str(array.dtype) for array in arrays)} do not fit")
    return concatenate([widened(array, dtype) for array in arrays])  # type: ignore[no-any-return]
