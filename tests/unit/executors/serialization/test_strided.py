"""Views with gaps: they carry what they show, and everything computed of them has the same bits."""

import pickle

import numpy as np
import pytest

from batchflow.executors.serialization.arrays import has_gaps
from batchflow.executors.serialization.pickling import Classes, packed_apart

VOLUME = np.random.default_rng(1).normal(size=(40, 50, 60)).astype("f4")
LONG = np.random.default_rng(2).normal(size=(300, 1000)).astype("f4")
RECORDS = np.zeros(2000, [("mark", "i1"), ("value", "f4"), ("name", "S20")])
RECORDS["value"] = LONG[:2].ravel()

VIEWS = {
    "a column": LONG[:, 7],
    "some columns": LONG[:, 100:300],
    "every fourth column": LONG[:, ::4],
    "every seventh column but the last ones": LONG[:, :990:7],
    "every tenth row": LONG[::10],
    "rows and columns": LONG[3::9, 5:600:3],
    "one column as a table": LONG[:, 5:6],
    "backwards": LONG[::-20, ::-3],
    "a crop": VOLUME[2:20, 10:30, 20:35],
    "a thin crop": VOLUME[2:20, 10:11, 20:35],
    "a turned crop": VOLUME[:20, 10:30, 20:35].transpose(2, 0, 1),
    "a turned crop, backwards": VOLUME[:20, 10:30, 35:20:-2].T,
    "a new axis": VOLUME[::4, None, :, ::5],
    "repeated": np.broadcast_to(VOLUME[::4, 3, ::5], (6, 10, 12)),
    "fortran": np.asfortranarray(VOLUME)[::6, :, :30],
    "complex": (LONG + 1j * LONG)[:, ::50].imag,
    "an unaligned field": RECORDS["value"][::5],
    "records": RECORDS[::3]["name"],
    "texts": np.array([f"text {n}" for n in range(3000)]).reshape(3, 1000)[:, ::40],
    "dates": np.arange(3000).astype("M8[s]").reshape(3, 1000)[:, ::40],
}
NUMBERS = {name: view for name, view in VIEWS.items() if view.dtype.kind == "f"}


def carried(array):
    """An array that has been packed and unpacked, and how many bytes have travelled."""
    payload, buffers = packed_apart(array, Classes(), "it")
    memory = [bytearray(buffer.raw()) for buffer in buffers]
    return pickle.loads(payload, buffers=memory), len(payload) + sum(map(len, memory))


def computed(x):
    """What depends on how an array lies in memory: the order of sums, and which loop is taken."""
    weights = np.linspace(0, 1, x.shape[-1] * 3, dtype=x.dtype).reshape(-1, 3)
    yield from (x.sum(), x.mean(), x.std(), x.prod(), np.linalg.norm(x), np.cumsum(x))
    yield from (x.sum(axis=axis) for axis in range(x.ndim))
    yield from (np.exp(x), np.sin(x), x.ravel(), (x + 1).sum())
    yield from (x @ weights, np.dot(x, weights), np.einsum("...i,ij->...j", x, weights))
    yield from (x @ np.swapaxes(x, -1, -2) if x.ndim > 1 else x @ x, np.einsum("...i,...i", x, x))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_arrives_with_its_values_and_its_order_of_axes(view):
    arrived, _ = carried(view)
    np.testing.assert_array_equal(arrived, view)
    assert arrived.dtype == view.dtype
    assert has_gaps(arrived)
    assert arrived.flags.aligned == view.flags.aligned
    assert np.sign(arrived.strides).tolist() == np.sign(view.strides).tolist()
    by_stride = [np.argsort(np.abs(a.strides), kind="stable").tolist() for a in (arrived, view)]
    assert by_stride[0] == by_stride[1]


@pytest.mark.parametrize("view", NUMBERS.values(), ids=NUMBERS)
def test_what_is_computed_of_a_view_that_has_arrived_has_the_same_bits(view):
    arrived, _ = carried(view)
    for here, there in zip(computed(view), computed(arrived), strict=True):
        assert np.asarray(here).tobytes() == np.asarray(there).tobytes()


def test_a_plain_copy_would_have_other_bits():
    copies = {name: np.array(view, order="K") for name, view in NUMBERS.items()}
    assert any(
        np.asarray(here).tobytes() != np.asarray(there).tobytes()
        for name, view in NUMBERS.items()
        for here, there in zip(computed(view), computed(copies[name]), strict=True)
    )


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_has_the_same_bits(seed):
    draw = np.random.default_rng(seed)
    whole = draw.normal(size=draw.integers(2, 30, draw.integers(2, 5)))
    whole = whole.transpose(draw.permutation(whole.ndim))
    steps = draw.choice([1, 1, 2, 3, -1, -2], whole.ndim).tolist()
    view = whole[
        tuple(slice(1, None, step) if step > 0 else slice(None, 0, step) for step in steps)
    ]
    arrived, _ = carried(view)
    for here, there in zip(computed(view), computed(arrived), strict=True):
        assert np.asarray(here).tobytes() == np.asarray(there).tobytes()


@pytest.mark.parametrize(
    ("view", "most"),
    [
        (LONG[:, 7], 2),
        (LONG[:, ::4], 2),
        (LONG[::50], 1.01),
        (LONG[:, 100:300], 1.01),
        (VOLUME[:, 16:32, 32:58], 1.05),
        (LONG[:, :-1], 1.01),
        (np.broadcast_to(LONG[:, 7], (100, 300)), 0.02),
    ],
    ids=["column", "columns", "rows", "block", "crop", "all but one", "repeated"],
)
def test_a_view_carries_about_what_it_shows(view, most):
    assert carried(view)[1] < view.nbytes * most + 500


def test_windows_carry_the_memory_that_they_reach_over():
    windows = np.lib.stride_tricks.sliding_window_view(LONG, 100, axis=1)
    arrived, n_bytes = carried(windows)
    assert n_bytes < LONG.nbytes + 500
    np.testing.assert_array_equal(arrived, windows)


def test_what_lies_between_is_not_sent():
    secret = np.full((100, 1000), 77, "u1")
    secret[:, 5] = 1
    payload, _ = packed_apart(secret[:, 5], Classes(), "it")
    assert payload.count(b"\x4d\x4d") == 0


def test_a_view_that_cannot_be_written_to_arrives_so():
    view = LONG[:, 7]
    view.flags.writeable = False
    assert not carried(view)[0].flags.writeable
