"""Tells tests which backend of Keras runs, and runs the code in README.md and under docs/.

`KERAS_BACKEND` names the backend: `pytest tests -m tensorflow`, `make test-models`. Tests that are
for some backends alone are marked `backends("tensorflow")`, and skipped on the others.

Under `pytest README.md docs`, each ```python block of a page is executed, in order, in one
namespace per page. A block that begins with `>>>` is a doctest: the output shown must be the output
that comes. A block that is not code has another language, or none. `batchflow/` is left to pytest's
own `--doctest-modules`.
"""

import os
import re
from doctest import ELLIPSIS
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

_PARSERS = [PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser()]


def _remember_folder(namespace: dict[str, object]) -> None:
    namespace["_folder_before"] = os.getcwd()


def _go_back(namespace: dict[str, object]) -> None:
    os.chdir(str(namespace["_folder_before"]))  # a page may work in a folder of its own


# Patterns match from the right: the first takes the README of this folder and no other.
_readme = Sybil(_PARSERS, patterns=["README.md"], excludes=["*/README.md"])
_pages = Sybil(_PARSERS, patterns=["*.md"], path="docs", setup=_remember_folder, teardown=_go_back)

pytest_collect_file = (_readme + _pages).pytest()
collect_ignore = ["docs/site"]  # needs Sphinx: `make docs` runs it


# Marks by which tests are chosen. Each stands in the files of the tests that have it.
_KINDS = {"cluster", "jax", "legacy", "site", "soak", "tensorflow", "torch"}
_MARK = re.compile(r"\bmark\.(\w+)")
_OF_ALL = re.compile(r"^pytestmark = (?:\[[^]]*\]|.*)", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that have no test with the marks that are asked for.

    To collect them would import Keras where no test needs it, and much else where few tests run.
    """
    is_test = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    if is_test and config.option.markexpr:
        return not _may_match(*_marks_in(collection_path), config.option.markexpr) or None
    return None


@cache
def _marks_in(file: Path) -> tuple[set[str], set[str]]:
    """Return the marks that a file names: those of all its tests, and the others."""
    text = file.read_text()
    of_all = {name for marks in _OF_ALL.findall(text) for name in _MARK.findall(marks)}
    return of_all, {*_MARK.findall(text)} - of_all


def _may_match(of_all: set[str], others: set[str], expression: str) -> bool:
    """Return whether a test with the first and some of the other marks may be chosen."""
    of_some = others & {*re.findall(r"\w+", expression)}
    chosen = Expression.compile(expression)
    for n in range(len(of_some) + 1):
        for some in combinations(of_some, n):
            marks = of_all.union(some)
            if chosen.evaluate(lambda name, /, marks=marks, **_: name in marks):
                return True
    return False


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skip a test on the backends that it is not for; see that its file names its marks."""
    chosen_by = {mark.name for mark in item.iter_markers()} & _KINDS
    if item.path.suffix == ".py" and not chosen_by <= set.union(*_marks_in(item.path)):
        raise pytest.UsageError(f"{item.path} does not name the marks of its tests: {chosen_by}")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    for mark in item.iter_markers("backends"):
        if backend not in mark.args:
            reason = f"only on {', '.join(mark.args)}"
            item.add_marker(pytest.mark.skip(reason=reason))
    if item.get_closest_marker("tensorflow") or item.path.suffix == ".md":
        # Of Keras's variables, wherever NumPy 2 reads one.
        ignored = "ignore:__array__ implementation:DeprecationWarning"
        item.add_marker(pytest.mark.filterwarnings(ignored))
