"""Document 001, `Estimator`: every row of it has a test. They are in `document_001/`."""

from pathlib import Path

from models.document_001.rows import ROWS
from models.document_002.rows import rows_tested_in

HERE = Path(__file__).parent


def test_every_row_has_a_test():
    assert rows_tested_in(HERE / "document_001") == ROWS


def test_the_document_has_64_rows():
    """So that a slip in reading the signatures does not go unseen."""
    assert len(ROWS) == 64
