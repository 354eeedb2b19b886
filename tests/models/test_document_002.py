"""Document 002, `tf.keras.Model`: the page and the tests have every row of it, and no others.

The rows themselves are executed in `document_002/`, and with `tf_keras` in `legacy/`.
"""

import re
from pathlib import Path

import pytest
from models.document_002.rows import ROWS, rows_tested_in

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "keras.md"
STATUSES = {"works", "Keras 3", "Keras 3, tf_keras", "tf_keras"}


def read_page():
    """Give the status and the last column of each row in the page's tables."""
    found, method = [], None
    for line in PAGE.read_text().splitlines():
        if heading := re.fullmatch(r"#+ (.*)", line):
            name = re.fullmatch(r"### `(\w+)`", line)
            method = name[1] if name else None
        elif method and line.startswith("| ") and not line.startswith("| row |"):
            row, status, *rest = (cell.strip() for cell in line.strip("| ").split(" |"))
            found.append((f"{method}.{row.replace('`', '')}", status.replace("`", ""), rest))
        assert heading is None or heading[1]
    return found


def test_the_page_has_every_row_once():
    names = [name for name, _, _ in read_page()]
    assert sorted(names) == sorted(ROWS)


@pytest.mark.parametrize("status", sorted(STATUSES - {"works"}))
def test_what_does_not_work_as_documented_says_what_to_write(status):
    for name, given, rest in read_page():
        assert given in STATUSES, name
        assert given != status or any(rest), name


@pytest.mark.parametrize(("folder", "statuses"), [
    ("document_002", {"works", "Keras 3", "Keras 3, tf_keras"}),
    ("legacy", {"tf_keras", "Keras 3, tf_keras"}),
])  # fmt: skip
def test_every_row_is_tested_where_the_page_says(folder, statuses):
    said = {name for name, status, _ in read_page() if status in statuses}
    assert rows_tested_in(HERE / folder) == said


def test_the_document_has_149_rows():
    """So that a slip in reading the signatures does not go unseen."""
    assert len(ROWS) == 149
