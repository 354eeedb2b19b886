"""Document 000, `BaseModel`: every row of it has a test. They are in `document_000/`."""

from pathlib import Path

from models.document_000.rows import ROWS
from models.document_002.rows import rows_tested_in

HERE = Path(__file__).parent


def test_every_row_has_a_test():
    assert rows_tested_in(HERE / "document_000") == ROWS


def test_the_document_has_57_rows():
    """So that a slip in reading the signatures does not go unseen."""
    assert len(ROWS) == 57
