"""Items that the standard pickler packs, as they arrive: no different from all others."""

import pickle

import numpy as np
import pytest

from batchflow.executors.serialization import pickling
from batchflow.executors.serialization.pickling import INLINE, Classes, packed_apart


def there(item):
    payload, buffers = packed_apart(item, Classes(), "the item")
    return pickle.loads(payload, buffers=[buffer.raw() for buffer in buffers]), buffers


PLAIN = (1, 2.5, "three", b"4", None, True, slice(0, 5), np.arange(3))


@pytest.fixture
def no_cloudpickle(monkeypatch):
    def refuse(*args):
        raise AssertionError("packed the long way")

    monkeypatch.setattr(pickling, "_dumps", refuse)


@pytest.mark.usefixtures("no_cloudpickle")
def test_a_ticket_is_packed_by_the_standard_pickler():
    (*rest, array), _ = there(PLAIN)
    assert rest == list(PLAIN[:-1])
    assert array.tolist() == [0, 1, 2]
    assert array.flags.writeable


class Local:
    pass


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(np.arange(12).reshape(3, 4)[:, :2], id="gaps"),
        pytest.param(np.zeros(INLINE, np.uint8), id="big"),
        pytest.param(np.array([Local, None]), id="objects"),
        pytest.param(Local, id="class"),
        pytest.param([1], id="list"),
    ],
)
def test_anything_else_is_packed_with_care(monkeypatch, part):
    seen, dumps = [], pickling._dumps
    monkeypatch.setattr(pickling, "_dumps", lambda *args: seen.append(1) or dumps(*args))
    (_, found), buffers = there((1, part))
    assert seen
    if isinstance(part, np.ndarray):
        assert found.strides == part.strides
        assert (found == part).all()
        assert len(buffers) == (part.nbytes >= INLINE)
