"""What type checkers are shown in tests/typing is what Python does."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "typing"


@pytest.mark.parametrize("name", ["batches", "expressions", "older_words"])
def test_the_lines_that_type_checkers_read_run(name):
    assert runpy.run_path(str(FOLDER / f"{name}.py"))
