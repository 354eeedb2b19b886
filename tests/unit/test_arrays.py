"""Lists to arrays without a change: which list becomes which array, and how arrays are joined."""

import numpy as np
import pytest

from batchflow.arrays import exact_array, joined_arrays

NAN = float("nan")

AS_ARRAYS = [
    ([1, 2.5], "f8"),
    ([1, 2**63], "f8"),
    ([True, np.False_], "?"),
    ([1, 1j], "c16"),
    ([np.float32(0.1), 0.1], "f8"),
    ([np.uint8(1), np.uint8(2)], "u1"),
    ([np.datetime64("2020-01-01"), np.datetime64("NaT")], "M8[D]"),
    ([[1, 2], (3, 4)], "i8"),
    ([np.zeros(2, "u1"), np.ones(2, "i2")], "i2"),
    ([np.zeros(2), [1, 2]], "f8"),
    ([], "f8"),
]
AS_OBJECTS = [
    ["red", NAN, 3],
    ["a", None],
    [("red", 1.5), ("blue", 2.5)],
    [["a", "b"], ["c", "d"]],
    [2**63 + 1, -1],
    [2**53 + 1, 0.5],
    [np.int64(2**53 + 1), 0.5],
    [1.0, 10**400],
    [True, 2],
    [[True, False], [1, 2]],
    [b"a\0", b"b"],
    ["a\0", "b"],
    [np.timedelta64(1, "s"), 5],
    [np.datetime64("2020-01-01"), np.datetime64("2020-01-01T05")],
    [np.zeros(2, bool), np.zeros(2, int)],
    [np.zeros(2), np.zeros(3)],
    [[1, 2], [3]],
    [{"a": 1}, None],
]


@pytest.mark.parametrize(("items", "dtype"), AS_ARRAYS, ids=repr)
def test_a_list_whose_values_an_array_holds_becomes_one(items, dtype):
    array = exact_array(items)
    assert array.dtype == np.dtype(dtype)
    assert array.shape[0] == len(items)


@pytest.mark.parametrize("items", AS_OBJECTS, ids=repr)
def test_what_no_array_holds_stays_what_it_is(items):
    array = exact_array(items)
    assert array.dtype == object
    assert array.shape == (len(items),)
    assert all(one is other for one, other in zip(array, items, strict=True))


def test_nothing_but_lists_and_arrays_is_gone_through():
    class Endless:
        def __len__(self):
            return 2

        def __getitem__(self, place):
            raise AssertionError("it was read")

    items = [Endless(), Endless()]
    assert exact_array(items).tolist() == items
    assert exact_array(items, reads_tensors=True).tolist() == items


def test_a_mask_goes_along():
    items = [np.ma.array([1, 2], mask=[0, 1]), np.ma.array([3, 4], mask=[1, 0])]
    assert exact_array(items).tolist() == [[1, None], [None, 4]]


@pytest.mark.parametrize(
    ("one", "other", "dtype"),
    [
        (np.array([1], "i1"), np.array([0.5], "f4"), "f4"),
        (np.array([2**53], "i8"), np.array([0.5]), "f8"),
        (np.array(["a"]), np.array(["long"]), "U4"),
        (np.array(["2020-01-01"], "M8[D]"), np.array(["2020-01-01T05"], "M8[h]"), "M8[h]"),
    ],
    ids=repr,
)
def test_joined_arrays_have_the_dtype_that_holds_both(one, other, dtype):
    joined = joined_arrays([one, other])
    assert joined.dtype == np.dtype(dtype)
    assert joined[0] == one[0]
    assert joined[1] == other[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([2**53 + 1], "i8"), np.array([0.5])),
        (np.array([2**63 - 1], "i8"), np.array([0.5])),
        (np.array([2**64 - 1], "u8"), np.array([-1], "i8")),
        (np.array([True]), np.array([2])),
        (np.array(["a"]), np.array([1.5])),
        (np.array([b"a"]), np.array(["a"])),
        (np.array(["9999-01-01"], "M8[D]"), np.array([1], "M8[as]")),
        (np.array(["2020-01-01"], "M8[D]"), np.array([1])),
    ],
    ids=repr,
)
def test_arrays_that_no_dtype_holds_are_joined_as_objects(one, other):
    joined = joined_arrays([one, other])
    assert joined.dtype == object
    assert joined[0] == one[0]
    assert joined[1] == other[0]
    assert isinstance(joined[0], bool) == (one.dtype == bool)


def test_masks_survive_where_arrays_become_objects():
    joined = joined_arrays([np.ma.array([True, False], mask=[0, 1]), np.array([2])])
    assert joined.tolist() == [True, None, 2]
