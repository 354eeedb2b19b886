"""Code that travels by value: the places of its lines arrive as they are here."""

import linecache
import pickle
import textwrap
import traceback
import types

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset
from batchflow.batch import apply_parallel
from batchflow.executors.serialization.pickling import Classes, dumps_whole
from batchflow.executors.serialization.reductions import reduced_code


def packed(value):
    return dumps_whole(value, Classes())


def _plain(code):
    """Reduce code as cloudpickle does up to 3.1.2."""
    return _remade, (code, code.co_filename)


def _without_a_file(code):
    """Reduce code as cloudpickle 3.1.3 does."""
    return _remade, (code, "<dynamic-code>")


def _remade(code, filename):
    return code.replace(co_filename=filename)


def _all_files(code):
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return {code.co_filename}.union(*(_all_files(part) for part in inner))


def test_code_names_its_file_inside_and_out():
    def outer():
        return lambda x: [x / y for y in ()]

    assert _all_files(pickle.loads(packed(outer)).__code__) == {__file__}


def test_a_method_of_a_class_that_travels_names_its_file():
    class Local:
        def method(self):
            return [x + 1 for x in ()]

    assert _all_files(pickle.loads(packed(Local)).method.__code__) == {__file__}


@pytest.mark.parametrize("reduce", [_plain, _without_a_file])
def test_the_file_is_told_whatever_the_release_of_cloudpickle(reduce):
    code = test_the_file_is_told_whatever_the_release_of_cloudpickle.__code__
    make, arguments = reduced_code(code, reduce)
    assert make(*arguments).co_filename == __file__
    assert make(*arguments).co_firstlineno == code.co_firstlineno


@pytest.fixture
def cell(monkeypatch):
    """A function of a notebook's cell: its lines are in no file."""
    name = "<a cell of a notebook>"
    lines = ["def broken(x):\n", "    return x / {}  # of a cell\n"]
    monkeypatch.setitem(linecache.cache, name, (sum(map(len, lines)), None, lines, name))
    space = {"__name__": "__main__"}
    exec(compile("".join(lines), name, "exec"), space)
    return space["broken"]


class Rows(ArrayBatch):
    components = ("x",)

    @apply_parallel(src="x", target="processes")
    def apply(self, x, function):
        return function(x)


@pytest.mark.parametrize(
    "chain",
    [
        lambda dataset, function: dataset.p.call(function, B.x).run_later(
            4, prefetch=2, executor="processes"
        ),
        lambda dataset, function: dataset.p.apply(function).run_later(4),
    ],
    ids=["batches", "items"],
)
def test_an_error_in_a_worker_shows_the_line_of_a_cell(cell, chain):
    dataset = Dataset.from_arrays(Rows, x=np.arange(8))
    with pytest.raises(TypeError) as caught:
        chain(dataset, cell).run()
    told = "\n".join(caught.value.__notes__)
    assert 'File "<a cell of a notebook>", line 2, in broken' in told
    assert "return x / {}  # of a cell" in told


def test_the_lines_of_a_file_do_not_travel(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        def broken():
            return "a line " + "of a file"
    """)
    )
    space = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    linecache.getlines(str(script))
    payload = packed(space["broken"])
    assert b"def broken" not in payload


def test_lines_that_arrive_are_shown_in_tracebacks(cell, monkeypatch):
    payload = packed(cell)
    monkeypatch.delitem(linecache.cache, cell.__code__.co_filename)
    arrived = pickle.loads(payload)
    with pytest.raises(TypeError) as caught:
        arrived(1)
    assert "return x / {}  # of a cell" in "".join(traceback.format_exception(caught.value))
