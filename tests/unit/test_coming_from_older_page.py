"""The rows of the tables in docs/how-to/coming_from_older.md are true."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from batchflow import BatchflowError

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "coming_from_older.md"
TEXT = PAGE.read_text()
SETUP = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
ROWS = re.findall(r"^\| `(.+?)` \| (.+?) \| (?:.*? )?\|$", TEXT, re.MULTILINE)
SAME = [older for older, here in ROWS if here == "same"]
GONE = [older for older, here in ROWS if here == "gone"]
RENAMED = [(older, here.strip("`")) for older, here in ROWS if here.startswith("`")]
OTHER = [(older, here[8:-1]) for older, here in ROWS if here.startswith("other: `")]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a piece of code with what the page defines, anew for each test."""
    names = {"__name__": "page"}
    exec(compile(SETUP, str(PAGE), "exec"), names)

    def run(code):
        try:
            compiled = compile(code, "<row>", "eval")
        except SyntaxError:
            return exec(compile(code, "<row>", "exec"), names)
        return eval(compiled, names)

    return run


def test_every_row_is_one_of_these():
    assert len(SAME) + len(GONE) + len(RENAMED) + len(OTHER) == len(ROWS)
    lines = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert len(lines) == len(ROWS) > 90
    assert min(len(SAME), len(RENAMED)) > 25


@pytest.mark.parametrize("older", SAME)
def test_what_is_the_same_runs(run, older):
    assert run(older) is not None


@pytest.mark.parametrize(("older", "here"), RENAMED)
def test_what_is_written_otherwise_is_refused_and_what_stands_beside_it_runs(run, older, here):
    with pytest.raises((BatchflowError, TypeError, AttributeError)):
        run(older)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(here)


@pytest.mark.parametrize("older", GONE)
def test_what_is_gone_is_refused(run, older):
    with pytest.raises(BatchflowError):
        run(older)


@pytest.mark.parametrize(("older", "here"), OTHER)
def test_what_means_something_else_does_not_give_what_it_gave(run, older, here):
    assert not np.array_equal(run(older), run(here))


def test_no_word_of_the_table_of_errors_is_unknown_to_the_page_or_its_neighbour():
    """Both are for the same readers."""
    from batchflow.old_words import OLD_WORDS

    language = (PAGE.parents[1] / "reference" / "language.md").read_text()
    words = [*OLD_WORDS["chain"], *OLD_WORDS["run"], *OLD_WORDS["action"], *OLD_WORDS["step"]]
    rare = {
        *("acquire_lock", "release_lock", "plot_profile_info", "profile_info", "rng_seeds"),
        *("show_profile_info", "reset_iter", "save_data_to", "set_dataset", "context"),
        *("use_tf_data", "reset"),
    }
    assert [w for w in words if w not in TEXT + language and w not in rare] == []
