"""Ceilings: how long a file and a function may be, how many public names a class may have."""

import ast
import inspect
import io
import tokenize
from pathlib import Path

import pytest

import batchflow
from batchflow import Dataset, Pipeline

PACKAGE = Path(batchflow.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
METHODS_OF_A_CLASS = 15
NAMES = {Dataset: 30, Pipeline: 36}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def lines_of_code(source):
    """Return the numbers of the lines that have more than a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    own = [token for token in tokens if token.type not in LAYOUT]
    return {line for token in own for line in range(token.start[0], token.end[0] + 1)}


def lines_of(node):
    return set(range(node.lineno, node.end_lineno + 1))


def docstrings_in(node):
    """Return the numbers of the lines of all docstrings inside."""
    documented = [
        inner
        for inner in ast.walk(node)
        if isinstance(inner, (*FUNCTIONS, ast.ClassDef)) and ast.get_docstring(inner) is not None
    ]
    return {line for inner in documented for line in lines_of(inner.body[0])}


def sizes_of_functions(source):
    """Yield each function with its lines: signature and body, but for docstrings and comments."""
    code = lines_of_code(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, FUNCTIONS):
            yield node.name, len((lines_of(node) & code) - docstrings_in(node))


def is_action(node):
    decorators = (ast.unparse(decorator) for decorator in node.decorator_list)
    return any(text.partition("(")[0] == "action" for text in decorators)


def sizes_of_classes(source):
    """Yield each class with its public methods and properties; actions are not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            own = [m for m in node.body if isinstance(m, FUNCTIONS) and not is_action(m)]
            yield node.name, len({m.name for m in own if not m.name.startswith("_")})


def public_names(cls):
    """Return the names that a class shows, its own and inherited ones."""
    return [name for name in dir(cls) if not name.startswith("_")]


def over(sizes, most):
    """Return what is too large: file and name of each."""
    return {
        (name_of(path), name)
        for path in FILES
        for name, size in sizes(path.read_text())
        if size > most
    }


def test_no_file_is_too_long():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name for name, n in lengths.items() if n > LINES_OF_A_FILE} == set()


def test_no_function_is_too_long():
    assert over(sizes_of_functions, LINES_OF_A_FUNCTION) == set()


def test_no_class_has_too_many_methods():
    assert over(sizes_of_classes, METHODS_OF_A_CLASS) == set()


@pytest.mark.parametrize("cls", NAMES, ids=lambda cls: cls.__name__)
def test_no_class_of_users_shows_too_many_names(cls):
    assert len(public_names(cls)) <= NAMES[cls]


# ---- the measures


SOURCE = '''
class Example:
    """A class."""

    @action
    def own_step(self):
        """Not counted as a method."""

    @property
    def size(self):
        # a comment

        return (
            1
        )

    @size.setter
    def size(self, value):
        """Count once."""

    def _hidden(self):
        """Not counted."""
'''


def test_a_function_is_measured_without_docstrings_comments_and_blank_lines():
    sizes = list(sizes_of_functions(inspect.cleandoc(SOURCE)))
    assert sizes == [("own_step", 1), ("size", 4), ("size", 1), ("_hidden", 1)]


def test_a_class_is_measured_by_its_public_methods_without_actions():
    assert list(sizes_of_classes(inspect.cleandoc(SOURCE))) == [("Example", 1)]
