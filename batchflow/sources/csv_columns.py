"""The columns of a CSV file with labels.

Guarantees:
    - The delimiter is that of the first line: a comma, a semicolon or a tab. Spaces around values,
      and lines without any, are left out.
    - A file whose columns would be guessed is refused: rows of other lengths, a name that stands
      for two columns.
    - Texts become numbers if all are written as such and none loses digits: "7", not "007". Where
      others are numbers, "NA" and the like are missing; decimal commas are refused.
"""

from __future__ import annotations

import csv
import os
import re
from typing import Any

from batchflow.errors import ArgumentValueError

_ENDINGS = (".csv", ".tsv", ".txt")
_MISSING = ("", "na", "n/a", "nan", "null")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?")


def is_csv_path(path: str) -> bool:
    """Check whether the ending of a path is that of a CSV file."""
    return path.lower().endswith(_ENDINGS)


def csv_columns(path: str, name: str) -> dict[str, list[str]]:
    """Return the columns of a CSV file, by the names in its first line.

    Args:
        path: The file, in UTF-8.
        name: The component that it is for, for messages.

    Raises:
        ArgumentValueError: It has no such columns.
        FileNotFoundError: There is no such file.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            read = csv.reader(file, delimiter=_delimiter(file))
            rows = [row for row in read if row and (row[0].strip() or any(map(str.strip, row)))]
    except FileNotFoundError as error:
        error.add_note(f"{name}: it was looked for at {os.path.abspath(path)!r}")
        raise
    except (UnicodeError, csv.Error) as error:
        error.add_note(
            f"{name}: while {path!r} was read, as CSV in UTF-8; another file is read by "
            f"{name}=pandas.read_csv({path!r}, encoding=...)"
        )
        raise
    names = [column.strip() for column in rows[0]] if rows else []
    if len(rows) < 2 or len(names) < 2:
        raise ArgumentValueError(
            f"{name}: {path!r} needs a line of column names, with a column of ids and one of values"
        )
    if doubled := [column for column in names if names.count(column) > 1]:
        raise ArgumentValueError(f"{name}: {path!r} has several columns {doubled[0]!r}")
    if wrong := [row for row in rows if len(row) != len(names)]:
        raise ArgumentValueError(
            f"{name}: the row {wrong[0]!r:.80} of {path!r} has {len(wrong[0])} values, and there "
            f"are {len(names)} columns"
        )
    columns = zip(*rows[1:], strict=True)
    return {
        column: list(map(str.strip, values)) for column, values in zip(names, columns, strict=True)
    }


def numbers_if_all(texts: list[str], path: str, name: str) -> list[Any]:
    """Return texts as numbers, if all are; None for what is missing.

    Raises:
        ArgumentValueError: They are numbers with decimal commas.
    """
    missing = {text for text in set(texts) if text.lower() in _MISSING}
    given = [text for text in texts if text not in missing]
    if any("," in text for text in given) and all(map(_DECIMAL_COMMA.fullmatch, given)):
        raise ArgumentValueError(
            f"{name}: {path!r} has numbers with decimal commas: give "
            f"{name}=pandas.read_csv({path!r}, sep=..., decimal=',')"
        )
    for kind in (int, float):
        try:
            numbers = [kind(text) for text in given]
        except ValueError:
            continue
        if all(map(_is_kept, given, numbers)):
            found = iter(numbers)
            return [None if text in missing else next(found) for text in texts]
        break
    return [text or None for text in texts]


def _delimiter(file: Any) -> str:
    """Return what stands between the values, by the first line."""
    first = file.readline()
    file.seek(0)
    return max(",;\t", key=first.count)


def _is_kept(text: str, value: float) -> bool:
    """Check that a text is how a number is written, and that a whole one lost no digits."""
    if isinstance(value, int):
        return str(value) == text.removeprefix("+")
    return "_" not in text and (not text.lstrip("+-").isdigit() or int(text) == value)
