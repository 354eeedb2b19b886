"""Data in memory: the forms it may have, and that batches only ever get copies."""

import copy
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    UnknownNameError,
    action,
)


class Pair(Batch):
    components = "images", "labels"

    @action
    def scribble(self):
        for part in self.data:
            _scribble(part)
        return self


class Single(Batch):
    components = ("images",)


class Plain(Batch):
    @action
    def scribble(self):
        _scribble(self.data)
        return self


def _scribble(part):
    """Write in place wherever one can: into the elements first, then into the array."""
    for i in range(len(part)):
        item = part[i]
        if isinstance(item, np.ndarray):
            item.fill(99)
        elif isinstance(item, list):
            item.append(99)
        elif isinstance(item, dict):
            item["written"] = 99
        else:
            part[i] = part[-1]
    part[:] = part[::-1].copy()


def object_array(items):
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array


# ---- forms


@pytest.mark.parametrize(
    "given_",
    [
        (np.arange(4) * 10, np.arange(4)),
        [np.arange(4) * 10, np.arange(4)],
        {"labels": np.arange(4), "images": np.arange(4) * 10},
        ([0, 10, 20, 30], (0, 1, 2, 3)),
    ],
    ids=["tuple", "list", "mapping", "of lists"],
)
def test_components_are_given_in_order_or_by_name(given_):
    batch = Dataset(4, Pair, preloaded=given_).create_batch([2, 1])
    assert (batch.images.tolist(), batch.labels.tolist()) == ([20, 10], [2, 1])


@pytest.mark.parametrize(
    "given_", [np.arange(3), [0, 1, 2], {"images": [0, 1, 2]}, ([0, 1, 2],)], ids=repr
)
def test_a_single_component_may_be_given_bare(given_):
    assert Dataset(3, Single, preloaded=given_).create_batch([2]).images.tolist() == [2]


@pytest.mark.parametrize("given_", [np.arange(3), [0, 1, 2], (0, 1, 2)], ids=repr)
def test_data_without_components_is_one_array(given_):
    assert Dataset(3, preloaded=given_).create_batch([2, 0]).data.tolist() == [2, 0]


def test_from_arrays_takes_components_by_name():
    dataset = Dataset.from_arrays(Pair, images=np.arange(3), labels=list("abc"))
    assert dataset.create_batch([1]).labels.tolist() == ["b"]


def test_from_arrays_takes_data():
    assert len(Dataset.from_arrays(Plain, data=[1, 2, 3])) == 3


def test_from_arrays_takes_an_index():
    dataset = Dataset.from_arrays(Plain, index=["x", "y"], data=[1, 2])
    assert dataset.create_batch(["y"]).data.tolist() == [2]


def test_ragged_lists_keep_their_items():
    items = [[1], [1, 2], [1, 2, 3]]
    batch = Dataset(3, preloaded=items).create_batch([2, 0])
    assert batch.data.tolist() == [[1, 2, 3], [1]]


def test_ragged_arrays_keep_their_items():
    items = [np.zeros((1, 2)), np.zeros((3, 2))]
    assert Dataset(2, preloaded=items).create_batch([1]).data[0].shape == (3, 2)


def test_a_memory_map_is_read_as_a_plain_array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = next(Dataset(6, preloaded=mapped).gen_batch(3)).data
    assert (type(data), data.tolist(), data.flags.writeable) == (np.ndarray, [0, 1, 2], True)


def test_data_that_numpy_reads_is_taken():
    class Table:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3)

    assert Dataset(3, preloaded=Table()).create_batch([1]).data.tolist() == [1]


def test_a_batch_can_write_even_where_the_source_cannot():
    source = np.arange(4)
    source.flags.writeable = False
    batch = next(Dataset(4, preloaded=source).gen_batch(2))
    batch.data[0] = 5
    assert batch.data[0] == 5


# ---- refusals


@pytest.mark.parametrize(
    ("given_", "complaint"),
    [
        (np.zeros((4, 2)), r"images, labels.*tuple of 2 arrays.*got ndarray"),
        ((np.zeros(4),), r"tuple of 2 arrays.*got 1 of them"),
        ((np.zeros(4),) * 3, r"tuple of 2 arrays.*got 3 of them"),
        ({"imges": np.zeros(4)}, r"no component 'imges'.*Did you mean 'images'"),
        (5, r"tuple of 2 arrays.*got int"),
        ((5, np.zeros(4)), r"Pair\.images.*got int"),
        ((np.zeros(4), None), r"Pair\.labels.*got NoneType"),
        ((np.zeros(4), {1, 2, 3, 4}), r"Pair\.labels.*got set"),
        ((np.zeros(4), (i for i in range(4))), r"Pair\.labels.*got generator"),
    ],
)
def test_data_that_does_not_fit_the_components_is_refused(given_, complaint):
    with pytest.raises(ArgumentTypeError, match=complaint):
        Dataset(4, Pair, preloaded=given_)


@pytest.mark.parametrize("n_rows", [0, 3, 5])
def test_a_wrong_number_of_rows_is_refused_with_both_numbers(n_rows):
    with pytest.raises(ArgumentValueError, match=rf"Pair\.labels.*4 items.*{n_rows} rows"):
        Dataset(4, Pair, preloaded=(np.zeros(4), np.zeros(n_rows)))


def test_from_arrays_of_different_lengths_are_refused():
    with pytest.raises(ArgumentValueError, match=r"Pair\.labels.*4 items.*3 rows"):
        Dataset.from_arrays(Pair, images=np.zeros(4), labels=np.zeros(3))


def test_names_for_a_class_without_components_are_refused_with_the_fix():
    with pytest.raises(ArgumentTypeError, match=r"components = 'images'"):
        Dataset.from_arrays(Plain, images=np.zeros(3))


def test_from_arrays_without_arrays_is_refused_with_an_example():
    with pytest.raises(ArgumentTypeError, match=r"from_arrays\(MyBatch, images=x"):
        Dataset.from_arrays(Pair)


@pytest.mark.parametrize("wrong", [5, Plain(1), "Plain", list, None], ids=repr)
def test_what_is_no_batch_class_is_refused_by_the_dataset(wrong):
    with pytest.raises(ArgumentTypeError, match="subclass of Batch"):
        Dataset(3, wrong)


@pytest.mark.parametrize("wrong", [5, list], ids=repr)
def test_what_is_no_batch_class_is_refused_by_from_arrays(wrong):
    with pytest.raises(ArgumentTypeError, match="subclass of Batch"):
        Dataset.from_arrays(wrong, data=[1, 2])


# ---- copies


SOURCES = {
    "array": lambda: np.arange(6),
    "matrix": lambda: np.arange(12.0).reshape(6, 2),
    "ragged": lambda: [np.arange(i + 1) for i in range(6)],
    "ragged lists": lambda: [[0] * (i + 1) for i in range(6)],
    "objects": lambda: object_array([np.arange(3) for _ in range(6)]),
    "dicts": lambda: [{"n": i} for i in range(6)],
    "list": lambda: list(range(6)),
    "lists": lambda: [[i, i] for i in range(6)],
    "strings": lambda: np.array(list("abcdef")),
    "fortran": lambda: np.asfortranarray(np.arange(12).reshape(6, 2)),
    "view": lambda: np.arange(24).reshape(6, 4)[:, ::2],
    "nested": lambda: object_array([{"a": [np.zeros(2)]} for _ in range(6)]),
}


def frozen(value):
    """What can be compared later, whatever is inside."""
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


@pytest.mark.parametrize(
    "options", [{}, {"shuffle": 1}, {"prefetch": 2}, {"shuffle": 1, "seed": 2}]
)
@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_what_an_action_writes_in_place_never_reaches_the_source(make, options):
    source = make()
    before = frozen(source)
    Dataset(6, Plain, preloaded=source).p.scribble().run(3, n_epochs=2, **options)
    assert frozen(source) == before


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_what_an_action_writes_in_place_never_reaches_the_next_epoch(make):
    dataset = Dataset(6, Plain, preloaded=make())
    clean = [frozen(b.data) for b in dataset.gen_batch(3)]
    after = []
    for batch in dataset.gen_batch(3, n_epochs=2):
        after.append(frozen(batch.data))
        batch.scribble()
    assert after == clean * 2


def test_writes_deep_inside_an_element_never_reach_the_source():
    source = object_array([{"a": [np.zeros(2)]} for _ in range(2)])
    batch = next(Dataset(2, preloaded=source).gen_batch(2))
    batch.data[0]["a"][0][:] = 5
    assert source[0]["a"][0].tolist() == [0, 0]


@pytest.mark.parametrize("form", [tuple, dict])
def test_components_are_copies_whatever_form_they_were_given_in(form):
    images, labels = np.arange(4.0), object_array([[i] for i in range(4)])
    parts = {"images": images, "labels": labels}
    given_ = parts if form is dict else (images, labels)
    kept = copy.deepcopy(parts)
    Dataset(4, Pair, preloaded=given_).p.scribble().run(2)
    assert frozen(images) + frozen(labels) == frozen(kept["images"]) + frozen(kept["labels"])


@pytest.mark.parametrize("part", ["subset", "split", "shuffled split", "created batch"])
def test_parts_of_a_dataset_give_copies_too(part):
    source = np.arange(6)
    dataset = Dataset(6, Plain, preloaded=source)
    batch = {
        "subset": lambda: next(dataset.create_subset([1, 2]).gen_batch(2)),
        "split": lambda: next(dataset.split(0.5).test.gen_batch(2)),
        "shuffled split": lambda: next(dataset.split(0.5, shuffle=1).test.gen_batch(2)),
        "created batch": lambda: dataset.create_batch([3, 4]),
    }[part]()
    batch.data[:] = 99
    assert source.tolist() == list(range(6))


def test_the_copy_of_an_array_batch_is_its_own_memory():
    source = np.arange(6)
    batch = next(Dataset(6, ArrayBatch, preloaded=source).gen_batch(6))
    assert not np.shares_memory(batch.data, source)


# ---- parts read the right rows


IDS = [f"id{i}" for i in range(40)]
ROWS = np.arange(40) * 10


def rows_are_right(dataset):
    for batch in dataset.gen_batch(min(3, len(dataset)), shuffle=5):
        expected = [int(item[2:]) * 10 for item in batch.indices]
        if batch.data.tolist() != expected:
            return False
    return True


step = st.one_of(
    st.tuples(
        st.just("split"),
        st.sampled_from(["train", "test"]),
        st.sampled_from([0.5, 0.7]),
        st.sampled_from([False, 1, 2]),
    ),
    st.tuples(st.just("subset"), st.integers(0, 5), st.integers(1, 3), st.booleans()),
)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(st.lists(step, max_size=4))
def test_splits_of_splits_read_the_right_rows(steps):
    dataset = Dataset(IDS, Plain, preloaded=ROWS)
    for kind, *how in steps:
        if len(dataset) < 4:
            break
        if kind == "split":
            name, share, shuffle = how
            dataset = getattr(dataset.split(share, shuffle=shuffle), name)
        else:
            start, stride, backwards = how
            ids = dataset.indices[min(start, len(dataset) - 1) :: stride].tolist()
            dataset = dataset.create_subset(ids[::-1] if backwards else ids)
    assert rows_are_right(dataset)


def test_the_parts_of_a_shuffled_split_hold_every_row_once():
    parts = Dataset(IDS, Plain, preloaded=ROWS).split(0.5, 0.25, shuffle=3)
    rows = [row for part in parts for b in part.gen_batch(5) for row in b.data]
    assert sorted(rows) == ROWS.tolist()


def test_a_split_of_a_dataset_is_that_of_its_index():
    dataset = Dataset(IDS)
    one = dataset.split(0.6, 0.2, shuffle=4)
    two = dataset.index.split(0.6, 0.2, shuffle=4)
    assert [p.indices.tolist() for p in one] == [p.indices.tolist() for p in two]


def test_a_dataset_split_has_named_parts_and_none_for_an_empty_one():
    split = Dataset(10).split(0.8)
    assert (len(split.train), split.validation, len(split.test)) == (8, None, 2)


def test_create_batch_reads_by_id_in_the_order_asked_for():
    assert Dataset(IDS, Plain, ROWS).create_batch(["id7", "id3"]).data.tolist() == [70, 30]


def test_create_batch_takes_one_id():
    assert Dataset(IDS, Plain, ROWS).create_batch("id7").data.tolist() == [70]


def test_create_batch_takes_one_id_that_is_a_tuple():
    dataset = Dataset([("a", 1), ("b", 2)], Plain, preloaded=[10, 20])
    assert dataset.create_batch(("b", 2)).data.tolist() == [20]


def test_create_batch_of_an_unknown_id_is_a_key_error():
    with pytest.raises(UnknownNameError, match="'id99'"):
        Dataset(IDS, Plain, ROWS).create_batch(["id99"])


def test_create_batch_on_a_part_does_not_reach_other_rows():
    part = Dataset(IDS, Plain, ROWS).split(0.5).test
    with pytest.raises(UnknownNameError):
        part.create_batch(["id0"])


def test_a_subclass_of_dataset_keeps_its_type_and_attributes():
    class Mine(Dataset):
        pass

    dataset = Mine(10)
    dataset.root = "here"
    part = dataset.split(0.5, shuffle=1).test
    assert (type(part), part.root) == (Mine, "here")


def test_texts_do_not_take_the_room_of_the_longest():
    texts = ["a short text" * 10] * 300 + ["x" * 100_000]
    tracemalloc.start()
    try:
        dataset = Dataset.from_arrays(Single, images=texts)
        batch = dataset.next_batch(301)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert batch.images.tolist() == texts
    assert taken < 2 * sum(map(len, texts)) + 80 * len(texts) + 100_000


class Rows(ArrayBatch):
    pass


@pytest.mark.parametrize(
    "given",
    [
        np.arange(24.0).reshape(6, 4),
        np.asfortranarray(np.arange(24.0).reshape(6, 4)),
        np.arange(48.0).reshape(12, 4)[::2],
        np.arange(24.0).reshape(6, 4)[:, ::2],
        np.arange(24).reshape(6, 4).astype(">i2"),
        np.array([(1, 2.5)] * 6, dtype=[("a", "i4"), ("b", "f8")]),
        np.zeros((6, 0)),
        np.arange(6).astype("M8[D]"),
    ],
)
@pytest.mark.parametrize("positions", [[4, 0, 5], [5]])
def test_rows_of_an_array_are_copied_however_it_lies_in_memory(given, positions):
    data = Dataset.from_arrays(Rows, data=given).create_batch(positions).data
    assert data.dtype == given.dtype
    assert np.array_equal(data, given[positions])
    assert data.flags.writeable
    assert not np.shares_memory(data, given)
