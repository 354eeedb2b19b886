"""Values by id: what a table, a mapping, a CSV file or a folder says about each item.

Guarantees:
    - Values are matched by id. Items without one are an error that lists them; ids that belong to
      no item are told in a warning.
    - Labels that are texts become integers, in the sorted order of the texts. Others stay what
      they are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from batchflow.arrays import column_array, column_names, exact_array, is_column, is_table
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError
from batchflow.index.labels import has_labels
from batchflow.index.scan import without_endings
from batchflow.sources.csv_columns import csv_columns, is_csv_path, numbers_if_all

if TYPE_CHECKING:
    import numpy.typing as npt

_LABELS = ("label", "labels", "class", "target", "y")  # names of the column with the labels


def components_by_id(
    ids: Sequence[str],
    paths: Sequence[str] | None,
    labels: Any,
    others: Mapping[str, Any],
    known: Iterable[str],
    classes: Sequence[str] | None = None,
) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """Return the components that are given by id.

    Args:
        ids: The ids of files.
        paths: Their paths; None: the ids are paths below a root.
        labels: What fills the component `labels`, or a mapping from another component to that.
        others: What fills other components, whose texts are not numbered.
        known: The components of the batch class.
        classes: The texts that labels may be, in the order of their numbers; None: those that are.

    Returns:
        A value of each item, by component; and the texts that the labels were, in the order of
        their numbers (None: they were no texts).

    Raises:
        ArgumentTypeError: This gives no values.
        ArgumentValueError: Items have no value, an id occurs twice, or a path leads nowhere.
        FileNotFoundError: There is no such file.
    """
    columns: dict[str, Any] = {}
    order = _checked_classes(classes)
    classes = None
    as_labels = _by_component(labels, ids, known)
    for name, given in {**as_labels, **others}.items():
        text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else ""
        if "{id}" in text:
            columns[name] = existing_paths(ids, text, name)
            continue
        columns[name] = folder_names(ids, paths) if text == "folder" else None
        columns[name] = columns[name] or values_by_id(ids, given, name)
        if name in as_labels:
            columns[name], classes = numbered(columns[name], ids, name, order)
    if order is not None and classes is None:
        raise ArgumentTypeError(
            "classes= is the order of labels that are texts, and there are none"
        )
    return columns, classes


def _checked_classes(classes: Any) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if not isinstance(classes, (list, tuple)) or not all(isinstance(c, str) for c in classes):
        raise ArgumentTypeError(
            f"classes= are the texts of labels, in the order of their numbers, got {classes!r:.80}"
        )
    if len(set(classes)) < len(classes):
        raise ArgumentValueError(f"classes= has a text twice: {classes!r:.80}")
    return tuple(classes)


def _by_component(labels: Any, ids: Sequence[str], known: Iterable[str]) -> Mapping[str, Any]:
    if labels is None:
        return {}
    names = labels.keys() if isinstance(labels, Mapping) else ()
    if not names or not names.isdisjoint(ids):
        return {"labels": labels}
    if len(names) > 1 and names <= set(known):
        raise ArgumentTypeError(
            f"labels= fills one component, got {', '.join(map(repr, names))}: give the others by "
            f"name, from_files(..., {list(names)[1]}=...)"
        )
    is_name = names <= set(known) or all(map(_is_of_many, labels.values()))
    return labels if is_name and len(names) == 1 else {"labels": labels}


def _is_of_many(given: Any) -> bool:
    """Check whether it says the values of many items, and is no value of one."""
    is_folder = isinstance(given, str) and given == "folder"
    return is_folder or isinstance(given, Mapping) or is_table(given) or has_labels(given)


def folder_names(ids: Sequence[str], paths: Sequence[str] | None) -> list[str]:
    """Return the name of the folder that each file lies in.

    Raises:
        ArgumentValueError: A file lies in the root itself, whose name is no label.
    """
    if paths is not None:
        return [os.path.basename(os.path.dirname(os.path.abspath(path))) for path in paths]
    bare = [item for item in ids if "/" not in item]
    if bare:
        raise ArgumentValueError(
            f'labels="folder": these files lie in no folder below the root: {_listed(bare)}'
        )
    return [item.rsplit("/", 2)[-2] for item in ids]


def values_by_id(ids: Sequence[Any], given: Any, name: str) -> list[Any]:
    """Return the value of each item.

    Args:
        ids: The ids of the items.
        given: A mapping from ids, a column with labels, a table with a column of ids, the path of a
            CSV file with one, or a function of an id.
        name: The component: the name of the column with its values, if there are several.

    Raises:
        ArgumentTypeError: `given` is none of these.
        ArgumentValueError: Items have no value, or an id occurs twice.
        FileNotFoundError: There is no such file.
    """
    if isinstance(given, Mapping):
        pairs: Mapping[Any, Any] = _unique(_as_ids(given, ids), list(given.values()), name)
    elif callable(given):
        return [given(item) for item in ids]
    elif isinstance(given, (str, os.PathLike)):
        pairs = _from_csv(os.fspath(given), ids, name)
    elif has_labels(given) and not is_table(given):
        pairs = _unique(_as_ids(given.index.tolist(), ids), _typed(given), name)
    elif hasattr(given, "collect"):
        raise ArgumentTypeError(
            f"{name}: expected a table in memory, got {type(given).__name__}: call .collect() on it"
        )
    elif is_table(given):
        pairs = _from_table(given, ids, name)
    else:
        raise ArgumentTypeError(
            f"{name}: expected a mapping from ids, a table or a column with ids, the path of a CSV "
            f'file, or "folder"; got {type(given).__name__} {given!r:.60}. Rows without ids are '
            "given to Dataset.from_arrays"
        )
    _check_all_there(ids, pairs, name)
    return [pairs[item] for item in ids]


def numbered(
    values: Sequence[Any], ids: Sequence[Any], name: str, classes: tuple[str, ...] | None
) -> tuple[npt.NDArray[Any], tuple[str, ...] | None]:
    """Return labels as an array, texts as integers; and the texts in the order of their numbers.

    Raises:
        ArgumentValueError: Some labels are texts and others are not; or a text is none of the
            classes that were given.
    """
    texts = [isinstance(value, str) for value in values]
    if not any(texts):
        return exact_array(list(values)), None
    if not all(texts):
        place = texts.index(False)
        raise ArgumentValueError(
            f"{name}: some labels are texts, and that of {ids[place]!r} is {values[place]!r}"
        )
    if classes is None:
        classes = tuple(sorted({str(value) for value in values}))
    number = {text: k for k, text in enumerate(classes)}
    if others := [place for place, value in enumerate(values) if value not in number]:
        raise ArgumentValueError(
            f"{name}: {values[others[0]]!r}, of {ids[others[0]]!r}, is none of the classes "
            f"{_listed(classes)}"
        )
    return np.array([number[value] for value in values]), classes


def existing_paths(ids: Sequence[str], pattern: str, name: str) -> npt.NDArray[Any]:
    """Return a path for each id: the pattern with the id, or the id without its extension.

    Args:
        ids: The ids.
        pattern: A path with `{id}` in it.
        name: The component, for messages.

    Raises:
        ArgumentValueError: There is no such file.
    """
    files = _Folders()
    paths = np.empty(len(ids), dtype=object)
    missing = []
    for place, item in enumerate(ids):
        folder, slash, file = item.rpartition("/")
        stems = os.path.splitext(file)[0], without_endings(file)[0]
        names = dict.fromkeys([item, *(folder + slash + stem for stem in stems)])
        tried = [pattern.replace("{id}", one) for one in names]
        found = next((path for path in tried if path in files), None)
        if found is None:
            missing.append(tried[0])
        paths[place] = found
    if missing:
        raise ArgumentValueError(
            f"{name}={pattern!r}: {len(missing)} of {len(ids)} files are not there: "
            f"{_listed(missing)} (looked in {os.getcwd()}, also for ids without their extensions)"
        )
    return paths


class _Folders:
    """The files of folders, each listed once."""

    def __init__(self) -> None:
        self._listed: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._listed:
            try:
                self._listed[folder] = set(os.listdir(folder or "."))
            except OSError:
                self._listed[folder] = set()
        return name in self._listed[folder]


def _from_csv(path: str, ids: Sequence[Any], name: str) -> Mapping[Any, Any]:
    if not is_csv_path(path):
        raise ArgumentTypeError(
            f'{name}={path!r}: a text is "folder", the path of a CSV file, or has an {{id}} in it, '
            'where the id of each file goes: "masks/{id}.png"'
        )
    columns = csv_columns(path, name)
    key, label = _key_and_label(columns, ids, name, path)
    items = set(ids)
    if key in items or not label:
        raise ArgumentValueError(
            f"{name}: the first line of {path!r} has no names of columns, but {list(columns)}"
        )
    # What rows of no item say does not tell what the others are.
    keys, values = columns[key], columns[label]
    are_of_items = list(map(items.__contains__, keys))
    numbers = iter(numbers_if_all(list(compress(values, are_of_items)), path, name))
    pairs = zip(are_of_items, values, strict=True)
    return _unique(keys, [next(numbers) if is_one else text for is_one, text in pairs], name)


def _from_table(table: Any, ids: Sequence[Any], name: str) -> Mapping[Any, Any]:
    columns: dict[Any, list[Any]] = {}
    if hasattr(table, "iloc") and not hasattr(table.index, "step"):
        columns[None] = table.index.tolist()  # labels that are not the row numbers
    columns |= {column: _plain(table[column]) for column in column_names(table)}
    as_ids = {column: _as_ids(values, ids) for column, values in columns.items()}
    key, label = _key_and_label(as_ids, ids, name, "the table")
    return _unique(as_ids[key], _typed(table[label]), name)


def _as_ids(keys: Iterable[Any], ids: Sequence[Any]) -> list[Any]:
    """Return keys as the ids that they mean: whole numbers and paths as texts, where ids are."""
    found = list(keys)
    if isinstance(ids[0], str):
        if all(isinstance(k, (int, np.integer)) and not isinstance(k, bool) for k in found):
            return [str(int(key)) for key in found]
        if all(isinstance(key, PurePath) for key in found):
            return [key.as_posix() for key in found]
    return found


def _key_and_label(
    columns: Mapping[Any, list[Any]], ids: Sequence[Any], name: str, shown: str
) -> tuple[Any, Any]:
    """Return the column with the ids, by its values, and that with the labels, by its name."""
    wanted = set(ids)

    def n_found(column: Any) -> int:
        return len(wanted.intersection(filter(_is_text_or_number, columns[column])))

    candidates = [column for column in columns if column not in (name, *_LABELS)] or list(columns)
    key = max(candidates, key=n_found)  # the first of several
    for column in candidates[1:] if key is not None else ():
        if n_found(column) == n_found(key) > 0 and columns[column] != columns[key]:
            raise ArgumentValueError(
                f"{name}: both {key!r} and {column!r} of {shown} hold ids of the items: leave out "
                "one, or make one the labels of the table: set_index"
            )
    others = [column for column in columns if column != key and column is not None]
    named = [column for column in (name, *_LABELS) if column in others]
    if len(others) != 1 and not named:
        raise UnknownNameError(
            f"{name}: which column of {shown} has the labels? There are "
            f"{', '.join(map(repr, others))}; call it {name!r}, or give the column alone"
        )
    return key, named[0] if named else others[0]


def _is_text_or_number(value: Any) -> bool:
    return isinstance(value, (str, int, float, np.generic))


def _plain(column: Any) -> list[Any]:
    array = column_array(column) if is_column(column) else np.asarray(column)
    return array.tolist() if array.dtype.kind not in "mM" else list(array)


def _typed(column: Any) -> list[Any]:
    """Return values that make an array of the same dtype again."""
    array = column_array(column) if is_column(column) else np.asarray(column)
    return list(array) if array.dtype.kind in "iuf" and array.dtype.itemsize < 8 else _plain(array)


def _unique(keys: list[Any], values: list[Any], name: str) -> Mapping[Any, Any]:
    pairs: dict[Any, Any] = {}
    doubled = []
    for key, value in zip(keys, values, strict=True):
        if key in pairs:
            doubled.append(key)
        pairs[key] = value
    if doubled:
        raise ArgumentValueError(
            f"{name}: these ids are there more than once: {_listed(list(dict.fromkeys(doubled)))}"
        )
    return pairs


def _check_all_there(ids: Sequence[Any], pairs: Mapping[Any, Any], name: str) -> None:
    missing = [item for item in ids if item not in pairs or _is_missing(pairs[item])]
    if missing:
        raise ArgumentValueError(
            f"{name}: {len(missing)} of {len(ids)} items have no value: {_listed(missing)}."
            f"{_hint(missing, {key for key in pairs if not _is_missing(pairs[key])})}"
        )
    known = set(ids)
    if others := [key for key in pairs if key not in known]:
        warnings.warn(
            f"{name}: {len(others)} ids belong to no item: {_listed(others)}", stacklevel=5
        )


def _is_missing(value: Any) -> bool:
    if isinstance(value, (float, np.generic)):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # of pandas


def _hint(missing: Sequence[Any], known: set[Any]) -> str:
    """Return advice where ids and known keys are the same but for extensions, folders, accents."""
    if not all(isinstance(item, str) for item in missing):
        return ""
    if any(os.path.splitext(i)[0] in known or i.partition(".")[0] in known for i in missing):
        return " The ids that have values have no extension: ext=False cuts it from the others."
    if any(item.rpartition("/")[2] in known for item in missing):
        return " The ids that have values are names without folders."
    composed = {normalize("NFC", key) for key in known if isinstance(key, str)}
    if any(normalize("NFC", item) in composed for item in missing):
        return " Accents are written in another way, in the ids or beside the values (Unicode NFC)."
    return f" An id that has a value is {min(known, key=repr)!r}." if known else ""


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return f"{', '.join(map(repr, values[:5]))}{more}"
