"""The ids of the items: what an index is made from, finds, refuses, and keeps."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArgumentTypeError, ArgumentValueError, DatasetIndex, UnknownNameError

LARGE = 2**16 + 1000  # beyond the size up to which ids are found in a dict


class Tagged(DatasetIndex):
    """An index of a user, with an attribute of its own."""

    def __init__(self, index, tag):
        super().__init__(index)
        self.tag = tag


# ---- what it is made from


@pytest.mark.parametrize("size", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_a_number_of_items_gives_the_ids_from_zero_on(size):
    assert DatasetIndex(size).indices.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "ids",
    [
        [5, 3, 4],
        (5, 3, 4),
        np.array([5, 3, 4], dtype=np.int16),
        range(5, 8),
        range(9, 3, -2),
        {5: "a", 3: "b"}.keys(),
        ["b", "a"],
        np.array(["b", "a"]),
        [b"b", b"a"],
        [("a", 1), ("b", 2)],
        [1, "1", (1,), None, b"1"],
        [2**70, 1],
        [0.5, 1.5],
    ],
    ids=repr,
)
def test_the_ids_are_those_that_were_given(ids):
    assert DatasetIndex(ids).indices.tolist() == list(ids)


def test_ids_keep_their_types_in_a_mixed_list():
    assert [type(i) for i in DatasetIndex([1, "1", 2.5, (1,)]).indices] == [int, str, float, tuple]


def test_an_index_is_made_from_another_index():
    assert DatasetIndex(DatasetIndex(["x", "y"])).indices.tolist() == ["x", "y"]


def test_tuples_stay_single_ids():
    assert DatasetIndex([("a", 1), ("b", 2)]).indices.shape == (2,)


@pytest.mark.parametrize(
    "wrong",
    ["abc", b"abc", {1, 2}, frozenset({1}), {1: 2}, True, np.True_, 2.5, None, object(), len],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_what_is_no_number_and_no_sequence_is_refused_with_the_right_forms(wrong):
    with pytest.raises(ArgumentTypeError, match=f"number of items.*{type(wrong).__name__}"):
        DatasetIndex(wrong)


def test_a_generator_is_refused():
    with pytest.raises(ArgumentTypeError, match="generator"):
        DatasetIndex(i for i in range(3))


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.array([True, False])], ids=["2d", "bool"])
def test_an_array_that_is_no_row_of_ids_is_refused(wrong):
    with pytest.raises(ArgumentTypeError, match="one-dimensional"):
        DatasetIndex(wrong)


def test_a_list_of_lists_is_refused_and_the_place_is_named():
    with pytest.raises(ArgumentTypeError, match="position 1 is a list"):
        DatasetIndex(["a", ["b"]])


def test_an_object_array_of_lists_is_refused_like_a_list_of_lists():
    ids = np.empty(2, dtype=object)
    ids[0], ids[1] = [1], [2]
    with pytest.raises(ArgumentTypeError, match="hashable"):
        DatasetIndex(ids)


@pytest.mark.parametrize("size", [0, -1, -(10**9)])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ArgumentValueError, match=f"at least one item.*{size}"):
        DatasetIndex(size)


@pytest.mark.parametrize("empty", [[], (), np.array([]), range(0), range(5, 5)], ids=repr)
def test_no_ids_are_refused(empty):
    with pytest.raises(ArgumentValueError, match=r"at least one item.*empty"):
        DatasetIndex(empty)


# ---- duplicates


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ([1, 2, 1], r"\[1\]"),
        (["a", "b", "b", "a"], r"\['b', 'a'\]"),
        (np.array([3, 3, 3]), r"\[3\]"),
        ([("a", 1), ("a", 1)], r"\[\('a', 1\)\]"),
        ([1, "1", "1"], r"\['1'\]"),
        ([1, 1.0, "x"], r"1"),
    ],
)
def test_duplicate_ids_are_refused_and_named(ids, named):
    with pytest.raises(ArgumentValueError, match=f"unique.*{named}"):
        DatasetIndex(ids)


def test_a_duplicate_among_many_ids_is_named():
    ids = np.arange(LARGE)
    ids[-1] = 77
    with pytest.raises(ArgumentValueError, match=r"\[77\]"):
        DatasetIndex(ids)


def test_at_most_five_duplicates_are_named():
    with pytest.raises(ArgumentValueError, match=r"\[0, 1, 2, 3, 4\]"):
        DatasetIndex(list(range(100)) * 2)


# ---- immutable


def test_the_ids_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        DatasetIndex([1, 2]).indices[0] = 9


@pytest.mark.parametrize("index", [DatasetIndex(5), DatasetIndex([4, 3, 2, 1, 0])], ids=repr)
@pytest.mark.parametrize("where", [slice(1, 3), [2, 0]], ids=repr)
def test_the_ids_of_a_part_cannot_be_written(index, where):
    with pytest.raises(ValueError, match="read-only"):
        index.take(where).indices[0] = 9


def test_the_ids_cannot_be_replaced():
    with pytest.raises(AttributeError):
        DatasetIndex(3).indices = np.arange(3)


def test_writing_to_the_array_it_was_made_from_changes_nothing():
    ids = np.array([1, 2, 3])
    index = DatasetIndex(ids)
    ids[0] = 9
    assert index.indices.tolist() == [1, 2, 3]


def test_writing_to_positions_after_take_changes_nothing():
    where = np.array([2, 0])
    part = DatasetIndex(3).take(where)
    where[:] = 1
    assert part.indices.tolist() == [2, 0]


def test_shuffled_splits_leave_the_index_as_it_is():
    index = DatasetIndex(10)
    index.split(0.5, shuffle=1)
    assert index.indices.tolist() == list(range(10))


# ---- positions


@pytest.mark.parametrize(
    ("ids", "item", "position"),
    [
        (5, 3, 3),
        (5, np.int32(3), 3),
        (5, 3.0, 3),
        (["a", "b"], "b", 1),
        (["a", "b"], np.str_("b"), 1),
        ([b"a", b"b"], b"b", 1),
        ([("a", 1), ("b", 2)], ("b", 2), 1),
        ([1, "1", (1,)], "1", 1),
        ([None, 1], None, 0),
        (range(10, 20), 12, 2),
    ],
)
def test_get_pos_of_one_id_is_an_int(ids, item, position):
    found = DatasetIndex(ids).get_pos(item)
    assert (found, type(found)) == (position, int)


@pytest.mark.parametrize(
    "several",
    [["c", "a"], np.array(["c", "a"]), ("c", "a"), DatasetIndex(["c", "a"])],
    ids=["list", "array", "tuple", "index"],
)
def test_get_pos_of_several_ids_is_an_array(several):
    found = DatasetIndex(["a", "b", "c"]).get_pos(several)
    assert (found.tolist(), found.dtype) == ([2, 0], np.int64)


def test_get_pos_of_several_tuples_is_an_array():
    index = DatasetIndex([("a", 1), ("b", 2)])
    assert index.get_pos([("b", 2), ("a", 1)]).tolist() == [1, 0]


def test_get_pos_of_no_ids_is_an_empty_array():
    assert DatasetIndex(["a"]).get_pos([]).tolist() == []


@pytest.mark.parametrize(
    ("ids", "item"),
    [
        (5, 5),
        (5, -1),
        (5, 2.5),
        (5, "3"),
        (5, None),
        (5, float("nan")),
        (5, float("inf")),
        (5, (1, 9)),
        (["a", "b"], "c"),
        (["a", "b"], 0),
        (["a", "b"], b"a"),
        (["1", "2"], 1),
        ([1, 2], "1"),
        ([1, 2], {}),
        ([1, 2], slice(0, 1)),
    ],
)
def test_an_unknown_id_is_a_key_error(ids, item):
    with pytest.raises(UnknownNameError) as caught:
        DatasetIndex(ids).get_pos(item)
    assert isinstance(caught.value, KeyError)


def test_an_unknown_id_among_known_ones_is_named():
    with pytest.raises(UnknownNameError, match="'zz'"):
        DatasetIndex(["a", "b"]).get_pos(["a", "zz", "b"])


@pytest.mark.parametrize(
    "ids",
    [
        np.random.default_rng(1).permutation(LARGE),
        np.random.default_rng(1).permutation(LARGE).astype(np.int32) - 500,
        np.array([f"id{i}" for i in range(LARGE)]),
        np.array([f"id{i}".encode() for i in range(LARGE)]),
        np.arange(LARGE, dtype=np.uint64) + np.uint64(2**62),
        np.arange(LARGE) * 0.5,
    ],
    ids=["int64", "int32", "str", "bytes", "uint64", "float"],
)
def test_among_many_ids_each_is_found(ids):
    places = [0, 1, 12345, LARGE - 1]
    assert DatasetIndex(ids).get_pos(ids[places]).tolist() == places


@pytest.mark.parametrize(
    "item", [-1, LARGE, 2**70, "5", b"5", None, 2.5, (1, -2), {}], ids=lambda item: repr(item)
)
def test_among_many_ids_an_unknown_one_is_a_key_error(item):
    with pytest.raises(UnknownNameError):
        DatasetIndex(np.arange(LARGE)[::-1]).get_pos(item)


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_dates_are_found_by_what_the_index_itself_gives(unit):
    index = DatasetIndex(np.array(["2020-01-01", "2020-01-02"], dtype=f"datetime64[{unit}]"))
    assert index.get_pos(index.indices[1]) == 1


def test_in_tells_which_ids_are_there():
    index = DatasetIndex(["a", "b"])
    assert [item in index for item in ("a", "z", 0, [])] == [True, False, False, False]


def test_iterating_gives_the_ids_in_order():
    assert list(DatasetIndex([3, 1, 2])) == [3, 1, 2]


ids_of_any_kind = st.lists(
    st.one_of(
        st.integers(),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
        st.tuples(st.integers(), st.text(max_size=2)),
    ),
    min_size=1,
    max_size=30,
    unique=True,
)


@settings(derandomize=True, database=None, deadline=None)
@given(ids_of_any_kind)
def test_every_id_is_found_at_its_position(ids):
    assert DatasetIndex(ids).get_pos(ids).tolist() == list(range(len(ids)))


# ---- parts


def test_take_gives_the_items_at_positions_in_that_order():
    assert DatasetIndex(["a", "b", "c"]).take([2, 0]).indices.tolist() == ["c", "a"]


@pytest.mark.parametrize("index", [DatasetIndex(6), DatasetIndex(list(range(6)))], ids=repr)
@pytest.mark.parametrize(
    "where",
    [
        slice(2, 4),
        slice(None, None, 2),
        slice(None, None, -1),
        slice(-2, None),
        np.array([5, 1]),
        np.array([True, False, False, True, False, False]),
        [True, False, False, False, False, False],
    ],
    ids=repr,
)
def test_take_selects_what_numpy_selects(index, where):
    assert index.take(where).indices.tolist() == np.arange(6)[where].tolist()


def test_take_of_a_stepped_part_counts_within_the_part():
    assert DatasetIndex(10).take(slice(None, None, 2)).take([1, 4]).indices.tolist() == [2, 8]


@pytest.mark.parametrize("index", [DatasetIndex(3), DatasetIndex(["a", "b", "c"])], ids=repr)
@pytest.mark.parametrize("where", [[3], [10**6], [0, -4], np.array([3])], ids=repr)
def test_take_refuses_positions_outside_the_index(index, where):
    with pytest.raises((IndexError, ArgumentValueError)):
        index.take(where)


@pytest.mark.parametrize("index", [DatasetIndex(3), DatasetIndex([0, 1, 2])], ids=repr)
def test_take_makes_no_ids_that_are_not_in_the_index(index):
    try:
        part = index.take([-1])
    except (IndexError, ArgumentValueError):
        return
    assert part.indices.tolist() == [2]


def test_take_refuses_positions_that_are_no_whole_numbers():
    with pytest.raises((TypeError, IndexError, ArgumentValueError)):
        DatasetIndex(3).take([0.9])


@pytest.mark.parametrize("index", [DatasetIndex(3), DatasetIndex(["a", "b", "c"])], ids=repr)
def test_take_of_one_bare_position_is_refused_in_words(index):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="take"):
        index.take(1)


def test_take_refuses_a_position_given_twice_and_names_the_id():
    with pytest.raises(ArgumentValueError, match=r"unique.*'b'"):
        DatasetIndex(["a", "b"]).take([1, 1])


@pytest.mark.parametrize("where", [[], slice(2, 2), np.zeros(3, bool)], ids=repr)
def test_take_of_nothing_is_refused(where):
    with pytest.raises(ArgumentValueError, match="no items are left"):
        DatasetIndex(3).take(where)


def test_create_subset_gives_the_ids_in_the_order_asked_for():
    assert DatasetIndex([10, 20, 30]).create_subset([30, 10]).indices.tolist() == [30, 10]


@pytest.mark.parametrize("one", ["bc", b"bc", 7], ids=repr)
def test_create_subset_takes_one_bare_id(one):
    assert DatasetIndex(["a", one]).create_subset(one).indices.tolist() == [one]


def test_create_subset_takes_one_tuple_that_is_an_id():
    index = DatasetIndex([("a", 1), ("b", 2)])
    assert index.create_subset(("b", 2)).indices.tolist() == [("b", 2)]


def test_create_subset_takes_another_index():
    index = DatasetIndex(["a", "b", "c"])
    assert index.create_subset(DatasetIndex(["c", "b"])).indices.tolist() == ["c", "b"]


@pytest.mark.parametrize("kind", [tuple, dict.fromkeys, lambda ids: dict.fromkeys(ids).keys()])
def test_create_subset_takes_whatever_holds_ids_in_an_order(kind):
    index = DatasetIndex(["a", "b", "c"])
    assert index.create_subset(kind(["c", "a"])).indices.tolist() == ["c", "a"]


def test_create_subset_refuses_an_unknown_id():
    with pytest.raises(UnknownNameError, match="'x'"):
        DatasetIndex(["a", "b"]).create_subset(["a", "x"])


def test_create_subset_refuses_an_id_given_twice():
    with pytest.raises(ArgumentValueError, match=r"unique.*'a'"):
        DatasetIndex(["a", "b"]).create_subset(["a", "a"])


def test_a_part_finds_its_own_positions():
    part = DatasetIndex(["a", "b", "c"]).take([2, 1])
    assert part.get_pos(["c", "b"]).tolist() == [0, 1]


def test_a_part_does_not_know_the_other_ids():
    assert "a" not in DatasetIndex(["a", "b", "c"]).take([2, 1])


def test_a_part_of_a_range_that_begins_later_finds_its_positions():
    part = DatasetIndex(100).take(slice(40, 60)).take([5, 0])
    assert (part.indices.tolist(), part.get_pos(45)) == ([45, 40], 0)


# ---- memory


def _peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "work",
    [
        lambda index: None,
        lambda index: index.get_pos([0, 10**9 - 1]),
        lambda index: 10**9 in index,
        lambda index: index.split(0.8),
        lambda index: index.take(slice(10, 10**8)),
        lambda index: index.create_subset([1, 2]),
        lambda index: pickle.loads(pickle.dumps(index)),
        repr,
        lambda index: next(iter(index)),
    ],
    ids=["make", "get_pos", "in", "split", "take", "subset", "pickle", "repr", "iter"],
)
def test_a_milliard_of_ids_needs_no_memory(work):
    assert _peak(lambda: work(DatasetIndex(10**9))) < 200_000


# ---- copies and subclasses


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda index: pickle.loads(pickle.dumps(index))]
)
@pytest.mark.parametrize("ids", [4, ["a", "b"], [("a", 1), 2]], ids=repr)
def test_a_copied_index_has_the_same_ids(ids, again):
    assert again(DatasetIndex(ids)).indices.tolist() == DatasetIndex(ids).indices.tolist()


def test_a_pickled_index_cannot_be_written():
    index = pickle.loads(pickle.dumps(DatasetIndex([1, 2])))
    with pytest.raises(ValueError, match="read-only"):
        index.indices[0] = 5


def test_a_pickled_index_that_was_searched_is_searched_again():
    index = DatasetIndex(["a", "b"])
    index.get_pos("b")
    assert pickle.loads(pickle.dumps(index)).get_pos("b") == 1


@pytest.mark.parametrize(
    "part_of",
    [
        lambda index: index.take([0, 2]),
        lambda index: index.take(slice(0, 2)),
        lambda index: index.create_subset(["a"]),
        lambda index: index.split(0.5).test,
        lambda index: index.split(0.5, shuffle=3).train,
        copy.copy,
        lambda index: pickle.loads(pickle.dumps(index)),
    ],
    ids=["take", "slice", "subset", "split", "shuffled", "copy", "pickle"],
)
def test_a_subclass_keeps_its_type_and_attributes(part_of):
    part = part_of(Tagged(["a", "b", "c", "d"], tag="mine"))
    assert (type(part), part.tag) == (Tagged, "mine")


def test_an_attribute_set_on_a_part_stays_there():
    index = Tagged(["a", "b"], tag="mine")
    index.take([0]).tag = "other"
    assert index.tag == "mine"


# ---- how it is shown


def test_repr_shows_the_first_ids():
    assert repr(DatasetIndex(list("abcdef"))) == "DatasetIndex(6 ids: 'a', 'b', 'c', 'd', ...)"


def test_repr_shows_dates_as_dates():
    days = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]")
    assert "2020-01-02" in repr(DatasetIndex(days))


def test_repr_of_a_range_shows_the_range():
    assert repr(DatasetIndex(3)) == "DatasetIndex(range(0, 3))"


# ---- masks, and ids that NumPy would change


MASKS = [np.array([False, True, True]), [False, True, True], [np.False_, np.True_, np.True_]]


@pytest.mark.parametrize("mask", MASKS, ids=["array", "list", "list of NumPy's"])
def test_a_mask_selects_and_is_never_ids(mask):
    index = DatasetIndex([0, 1, 2])
    assert index.create_subset(mask).indices.tolist() == [1, 2]
    assert index.get_pos(mask).tolist() == [1, 2]
    assert index.take(mask).indices.tolist() == [1, 2]


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ArgumentValueError, match="one bool for each of the 3 items"):
        DatasetIndex(3).create_subset([True, False])


def test_a_bool_is_no_id():
    index = DatasetIndex([0, 1])
    with pytest.raises(ArgumentTypeError, match="True is no id"):
        index.get_pos(True)
    with pytest.raises(ArgumentTypeError, match="got both"):
        index.get_pos([1, True])
    assert True not in index
    for ids in ([True, False], [True, "a"]):
        with pytest.raises(ArgumentTypeError, match="an id is no bool"):
            DatasetIndex(ids)


def test_masked_ids_are_refused():
    with pytest.raises(ArgumentValueError, match="masked"):
        DatasetIndex(np.ma.array([1, 2], mask=[False, True]))


@pytest.mark.parametrize(
    "ids", [["a\0", "a"], [b"a\0", b"a"], [2**63 + 1, -1], [2**64, 1]], ids=repr
)
def test_ids_keep_their_values(ids):
    index = DatasetIndex(ids)
    assert index.indices.tolist() == ids
    assert index.get_pos(ids).tolist() == [0, 1]


def test_ids_do_not_take_the_room_of_the_longest():
    ids = [f"id {i}" for i in range(20_000)] + ["x" * 5_000]
    indices = DatasetIndex(ids).indices
    assert indices.dtype == object
    assert indices.tolist() == ids


def test_a_tuple_with_bools_is_an_id():
    index = DatasetIndex([("a", True), (True, False)])
    assert index.get_pos(("a", True)) == 0
    assert index.get_pos((True, False)) == 1
    assert index.get_pos([(True, False)]).tolist() == [1]


@pytest.mark.parametrize("n_ids", [10, 10_000], ids=["a dict", "a table of hashes"])
@pytest.mark.parametrize(
    "kind",
    [
        *("datetime64[M]", "datetime64[D]", "datetime64[h]", "datetime64[us]"),
        *("timedelta64[D]", "timedelta64[us]"),
    ],
)
def test_times_are_found_as_python_gives_them(n_ids, kind):
    index = DatasetIndex(np.arange(n_ids).astype(kind))
    assert index.get_pos(index.indices.tolist()[3]) == 3
    assert index.get_pos(index.indices.tolist()[3:5]).tolist() == [3, 4]
