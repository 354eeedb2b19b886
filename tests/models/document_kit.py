"""What the tests of documents 000, 001 and others share: rows, Keras on use, events, small data."""

import importlib

import numpy as np
import pytest


class _Keras:
    """The package keras, imported by the first test that asks for something of it."""

    def __getattr__(self, name):
        return getattr(importlib.import_module("keras"), name)


keras = _Keras()


def parse(lines):
    """Give the rows of a document: one per argument of a method and per fact after the colon."""
    rows = []
    for line in lines.strip().splitlines():
        method, _, rest = line.partition("(")
        arguments, _, facts = rest.partition(")")
        parts = [*arguments.split(", "), *facts.removeprefix(":").strip().split(", ")]
        rows += [f"{method}.{part}" for part in parts if part]
    return rows


def marker(rows):
    """Make the decorator that marks a test with the rows that it executes."""

    def row(*names):
        unknown = set(names) - set(rows)
        if unknown:
            raise ValueError(f"the document has no {sorted(unknown)}")
        return pytest.mark.parametrize("row", [pytest.param(names, id=" ".join(names))])

    return row


def read_events(folder):
    """Read a folder's event files: `{tag: [(step, value), ...]}`, by tensorboard's own reader.

    The value of a histogram is an array of rows: left edge, right edge, count.
    """
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tensor_util = importlib.import_module("tensorboard.util.tensor_util")
    events = reader.EventAccumulator(str(folder), size_guidance={reader.TENSORS: 0})
    events.Reload()
    return {
        tag: [
            (event.step, np.array(tensor_util.make_ndarray(event.tensor_proto)))
            for event in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
    }


def compute(inputs, outputs, arrays):
    """Compute symbolic tensors for arrays, as NumPy arrays in the same structure."""
    found = keras.Model(inputs, outputs)([np.asarray(array, "float32") for array in arrays])
    return keras.tree.map_structure(keras.ops.convert_to_numpy, found)


def values(estimator, part=""):
    """Give the variables whose names have a part."""
    names = estimator.get_variable_names()
    return {name: estimator.get_variable_value(name) for name in names if part in name}


def value(estimator, part):
    """Give the one variable whose name ends so, and that is not the optimizer's."""
    (found,) = (
        name
        for name in estimator.get_variable_names()
        if name.endswith(part) and not name.startswith("optimizer")
    )
    return estimator.get_variable_value(found)


def step_of(estimator):
    return int(estimator.get_variable_value("global_step"))


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name
