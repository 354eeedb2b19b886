"""Numbers that may still be on a device: they do as floats do, and are read once."""

import copy
import json
import math
import numbers
import pickle
import statistics
import weakref

import numpy as np
import pytest

from batchflow.models import LazyValue

VALUES = [0.0, -1.5, 0.1, 1e300, float("inf")]


@pytest.mark.parametrize("number", VALUES)
def test_a_lazy_value_does_as_its_float_does(number):
    lazy, other = LazyValue(np.float64(number)), LazyValue(2.0)
    assert (lazy, lazy + 1, 1 + lazy, lazy * other, 2 / other) == (
        *(number, number + 1, 1 + number, number * 2, 1.0),
    )
    assert (lazy < 1, lazy > 1, lazy != number, lazy >= other) == (
        *(number < 1, number > 1, False, number >= 2),
    )
    assert (repr(lazy), str(lazy), f"{lazy:.3e}", "%.2f" % lazy) == (  # noqa: UP031
        *(repr(number), str(number), f"{number:.3e}", f"{number:.2f}"),
    )
    assert (hash(lazy), bool(lazy), -lazy, abs(lazy)) == (
        *(hash(number), bool(number), -number, abs(number)),
    )
    assert math.isinf(lazy) == math.isinf(number)
    assert isinstance(lazy, numbers.Real)


def test_arrays_of_lazy_values_are_arrays_of_floats():
    numbers_ = [0.5, 0.25, 1.0]
    lazy = [LazyValue(np.float32(n)) for n in numbers_]
    assert np.array(lazy).dtype == np.float64
    assert np.mean(lazy) == np.mean(numbers_)
    assert (sum(lazy), max(lazy), sorted(lazy)) == (1.75, 1.0, sorted(numbers_))
    assert statistics.mean(lazy) == statistics.mean(numbers_)
    np.testing.assert_array_equal(np.ones(2) * lazy[0], [0.5, 0.5])
    np.testing.assert_array_equal(lazy[0] + np.ones(2), [1.5, 1.5])
    assert np.float32(1) > lazy[0]
    assert (round(lazy[1], 1), int(lazy[2]), lazy[0].item()) == (0.2, 1, 0.5)
    assert type(lazy[0].numpy()) is np.float64


@pytest.mark.parametrize(
    "through", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_a_copy_of_a_lazy_value_is_a_float(through):
    assert type(through(LazyValue(0.5))) is float


def test_json_takes_it_with_a_default():
    assert json.dumps([LazyValue(0.5)], default=float) == "[0.5]"


def test_a_lazy_value_is_read_once_and_lets_its_tensor_go():
    class Tensor:
        n_reads = 0

        def __float__(self):
            Tensor.n_reads += 1
            return 0.5

    tensor = Tensor()
    lazy, gone = LazyValue(tensor), weakref.ref(tensor)
    del tensor
    assert Tensor.n_reads == 0
    assert (float(lazy), lazy + 0, Tensor.n_reads) == (0.5, 0.5, 1)
    assert gone() is None
