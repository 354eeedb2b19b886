"""What Sphinx reads: see build.py."""

import re

import batchflow

project = "batchflow"
author = "The batchflow developers"
copyright = "The batchflow developers, Apache License 2.0"
version = release = batchflow.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples/*", "LICENSE"]

html_theme = "furo"
html_title = f"batchflow {release}"
html_show_sourcelink = False

myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = "build/notebooks"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Docstrings are in the Google style, with names in single backticks.
napoleon_use_ivar = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"

# A single backtick is followed by letters in "`Metric`s", which reStructuredText does not take.
_NAME = re.compile(r"(?<!`)`([^`]+)`(?!`)(\w*)")


def _with_literals(_app, _what, _name, _object, _options, lines):
    """Write names in single backticks as literals."""
    text = _NAME.sub(lambda m: f"``{m[1]}``" + (f"\\ {m[2]}" if m[2] else ""), "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app):
    """Connect what changes docstrings."""
    app.connect("autodoc-process-docstring", _with_literals, priority=1)
