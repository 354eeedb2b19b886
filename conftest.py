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
from pathlib import Path

import pytest
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


_NEEDS_KERAS = re.compile(r"^pytestmark = (?:\[[^]]*)?pytest\.mark\.tensorflow", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files whose tests all need Keras, where none such is asked for.

    To collect them would import it.
    """
    is_test = collection_path.suffix == ".py" and collection_path.name.startswith("test_")
    if is_test and "not tensorflow" in config.option.markexpr:
        return bool(_NEEDS_KERAS.search(collection_path.read_text())) or None
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skip a test on the backends that it is not for."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    for mark in item.iter_markers("backends"):
        if backend not in mark.args:
            reason = f"only on {', '.join(mark.args)}"
            item.add_marker(pytest.mark.skip(reason=reason))
    if item.get_closest_marker("tensorflow") or item.path.suffix == ".md":
        # Of Keras's variables, wherever NumPy 2 reads one.
        ignored = "ignore:__array__ implementation:DeprecationWarning"
        item.add_marker(pytest.mark.filterwarnings(ignored))
