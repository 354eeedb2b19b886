"""Several ids are found as each of them is, and at once."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import DatasetIndex, UnknownNameError
from batchflow.index import lookup

LARGE = lookup.DICT_UP_TO + 1000  # beyond the size up to which ids are found in a dict

INDICES = {
    "range": DatasetIndex(LARGE),
    "part of a range": DatasetIndex(range(5, LARGE)),
    "ranges": DatasetIndex(LARGE).kfold(5)[2].train,
    "few ints": DatasetIndex(np.arange(40) * 2),
    "ints": DatasetIndex(np.arange(LARGE)[::-1] * 2),
    "unsigned": DatasetIndex(np.arange(LARGE, dtype="uint64") + np.uint64(2**63)),
    "floats": DatasetIndex(np.arange(LARGE) / 4),
    "texts": DatasetIndex([f"id{i}" for i in range(LARGE)]),
    "long texts": DatasetIndex([f"id{i}" for i in range(LARGE)] + ["x" * 10**5, "id3\0"]),
    "texts of NumPy": DatasetIndex(
        np.array([f"id{i}" for i in range(LARGE)], np.dtypes.StringDType())
    ),
    "many objects": DatasetIndex([("a", i) for i in range(LARGE)] + ["id3", 3, 2**70]),
    "bytes": DatasetIndex(np.array([f"id{i}" for i in range(LARGE)], "S")),
    "dates": DatasetIndex(np.arange(LARGE).astype("M8[D]")),
    "objects": DatasetIndex([("a", i) for i in range(40)]),
}
WANTED = st.one_of(
    st.integers(-3, 50),
    st.sampled_from([2**63, 2**63 + 3, 2**64, 2**70, -(2**63), LARGE - 1, 2 * LARGE]),
    st.floats(0, 12),
    st.sampled_from(["id3", "id3\0", "id", "", "id3" * 100, b"id4", b"id4\0", None, ("a", 3)]),
    st.sampled_from([np.int8(4), np.uint64(2**63 + 1), np.float32(0.25), np.str_("id7")]),
    st.sampled_from([np.datetime64(3, "D"), np.datetime64(72, "h"), np.datetime64("NaT")]),
)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
@given(wanted=st.lists(WANTED, max_size=6))
@settings(max_examples=60, deadline=None)
def test_several_ids_are_found_as_each_of_them(index, wanted):
    one_by_one = [index._table(item) for item in wanted]
    found = index._table.many(wanted).tolist()
    assert found == [-1 if place is None else place for place in one_by_one]


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_all_ids_are_found_at_their_positions(index):
    positions = np.random.default_rng(1).permutation(len(index))
    assert index.get_pos(index.indices[positions]).tolist() == positions.tolist()


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_ids_in_a_list_are_found_at_their_positions(index):
    assert index.get_pos(lookup.plain(index.indices[3:9])).tolist() == list(range(3, 9))


@pytest.mark.parametrize(
    ("index", "dtype"), [("ints", "int16"), ("texts", "U30"), ("floats", "float32")]
)
def test_ids_of_another_dtype_are_found(index, dtype):
    index = INDICES[index]
    assert index.get_pos(index.indices[-9:].astype(dtype)).tolist() == [*range(LARGE)][-9:]


def test_the_first_of_many_ids_that_is_not_there_is_named():
    ids = [*INDICES["texts"].indices[:9], "id-1", "id-2"]
    with pytest.raises(UnknownNameError, match="no item with the id 'id-1'"):
        INDICES["texts"].get_pos(ids)


def test_an_unknown_tuple_among_several_is_named():
    with pytest.raises(UnknownNameError, match=r"no item with the id \('b', 1\)"):
        INDICES["objects"].get_pos([("a", 1), ("b", 1)])


def test_many_texts_are_found_at_once_and_not_one_by_one(monkeypatch):
    index = INDICES["texts"]
    monkeypatch.setattr(lookup.HashLookup, "__call__", None)
    assert len(index.create_subset(index.indices[::-1])) == LARGE


def test_a_long_text_among_the_wanted_takes_no_room_for_each():
    wanted = ["id1", "x" * 10**6, *["id2"] * 1000]
    start = time.process_time()
    places = INDICES["texts"]._table.many(wanted)
    assert places[:3].tolist() == [1, -1, 2]
    assert time.process_time() - start < 5  # 4 GB would take longer
