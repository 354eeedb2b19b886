"""Runs the code in README.md and under docs/: `pytest README.md docs`.

Each ```python block of a page is executed, in order, in one namespace per page. A block that begins
with `>>>` is a doctest: the output shown must be the output that comes. A block that is not code
has another language, or none. `batchflow/` is left to pytest's own `--doctest-modules`.
"""

from doctest import ELLIPSIS

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

_PARSERS = [PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser()]

# Patterns match from the right: the first takes the README of this folder and no other.
_readme = Sybil(_PARSERS, patterns=["README.md"], excludes=["*/README.md"])
_pages = Sybil(_PARSERS, patterns=["*.md"], path="docs")

pytest_collect_file = (_readme + _pages).pytest()
