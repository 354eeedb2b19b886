"""Splits and folds of datasets: what they hold, which words they know, what they leave alone."""

import gc
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
from kit import Pair

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    DatasetIndex,
    FilesIndex,
    Split,
    UnknownNameError,
)
from batchflow.index.ranges import Ranges

over_index_and_dataset = pytest.mark.parametrize("cls", [DatasetIndex, Dataset])
PARTS = ("train", "validation", "test")


def sizes(parts):
    return tuple(0 if part is None else len(part) for part in parts)


def parts_of(dataset):
    return tuple(getattr(dataset, name) for name in PARTS)


def numbers(n_items=10):
    return Dataset.from_arrays(ArrayBatch, data=np.arange(n_items) * 10)


# ---- attributes


def test_a_dataset_has_no_parts_at_first():
    assert parts_of(Dataset(10)) == (None, None, None)


def test_split_sets_the_parts_that_it_gives():
    dataset = Dataset(10)
    parts = dataset.split(0.5, 0.3, 0.2)
    assert all(getattr(dataset, name) is getattr(parts, name) for name in PARTS)


def test_a_second_split_leaves_no_part_of_the_first():
    dataset = Dataset(10)
    dataset.split(0.6, 0.2, 0.2)
    dataset.split(0.5)
    assert sizes(parts_of(dataset)) == (5, 0, 5)


def test_the_parts_that_were_returned_stay_as_they_are():
    dataset = numbers()
    first = dataset.split(0.5, shuffle=1)
    ids = first.train.indices.tolist()
    dataset.split(0.2, shuffle=2)
    assert (first.train.indices.tolist(), first.train.next_batch(2).data.tolist()) == (
        ids,
        [10 * i for i in ids[:2]],
    )


def test_a_part_has_no_parts():
    dataset = Dataset(10)
    dataset.split(0.5)
    assert parts_of(dataset.split(0.5).train) == (None, None, None)


def test_a_part_does_not_keep_the_whole_alive():
    dataset = Dataset(10)
    train = dataset.split(0.5).train
    gone = weakref.ref(dataset)
    gc.disable()
    try:
        del dataset
        assert (gone(), len(train)) == (None, 5)
    finally:
        gc.enable()


@pytest.mark.parametrize("split", [lambda d: d.split(0.5), lambda d: d.cv_split(n_splits=2)])
def test_a_dataset_with_parts_is_pickled(split):
    dataset = numbers(4)
    split(dataset)
    twin = pickle.loads(pickle.dumps(dataset))
    part = twin.train or twin.cv1.train
    assert part.next_batch(2).data.tolist() == [0, 10]


# ---- cv_split, in the old order


@pytest.mark.parametrize(
    ("shares", "train_test_validation"),
    [
        (None, (8, 2, 0)),
        (0.7, (7, 3, 0)),
        (7, (7, 3, 0)),
        ([0.7], (7, 3, 0)),
        ([0.6, 0.3], (6, 3, 1)),
        ((0.6, 0.3, 0.1), (6, 3, 1)),
        (np.array([0.6, 0.3, 0.1]), (6, 3, 1)),
        ((6, 3, 1), (6, 3, 1)),
    ],
    ids=repr,
)
def test_cv_split_takes_train_test_validation(shares, train_test_validation):
    parts = Dataset(10).cv_split(shares)
    assert sizes((parts.train, parts.test, parts.validation)) == train_test_validation


def test_cv_split_sets_the_parts_that_it_gives():
    dataset = Dataset(10)
    parts = dataset.cv_split([0.6, 0.3, 0.1])
    assert all(getattr(dataset, name) is getattr(parts, name) for name in PARTS)


def test_cv_split_shuffles():
    dataset = Dataset(100)
    old = dataset.cv_split(0.5, shuffle=3).train.indices.tolist()
    assert old == dataset.split(0.5, shuffle=3).train.indices.tolist()


@pytest.mark.parametrize("shares", [(), (0.1,) * 4])
def test_cv_split_refuses_another_number_of_shares(shares):
    with pytest.raises(ArgumentValueError, match=r"1 to 3 shares \(train, test, validation\)"):
        Dataset(10).cv_split(shares)


KFOLD = {
    "the number": {"n_splits": 3},
    "method and number": {"method": "kfold", "n_splits": 3},
    "the method first": {"shares": "kfold", "n_splits": 3},
}


@pytest.mark.parametrize("spelling", KFOLD)
def test_cv_split_by_folds_sets_numbered_splits(spelling):
    dataset = Dataset(10)
    dataset.cv_split(**KFOLD[spelling])
    tests = [dataset.cv0.test, dataset.cv1.test, dataset.cv2.test]
    assert [part.indices.tolist() for part in tests] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_cv_split_gives_the_folds_that_it_sets():
    dataset = Dataset(10)
    folds = dataset.cv_split(method="kfold")
    assert [fold is getattr(dataset, f"cv{i}") for i, fold in enumerate(folds)] == [True] * 5


def test_fewer_folds_leave_none_of_the_earlier_ones():
    dataset = Dataset(10)
    dataset.cv_split(n_splits=5)
    dataset.cv_split(n_splits=2)
    assert [hasattr(dataset, f"cv{i}") for i in range(5)] == [True, True, False, False, False]


def test_a_split_leaves_no_folds():
    dataset = Dataset(10)
    dataset.cv_split(n_splits=5)
    dataset.split()
    assert not hasattr(dataset, "cv0")


def test_folds_leave_no_parts_of_a_split():
    dataset = Dataset(10)
    dataset.split()
    dataset.cv_split(n_splits=5)
    assert parts_of(dataset) == (None, None, None)


def test_a_part_has_no_folds():
    dataset = Dataset(10)
    dataset.cv_split(n_splits=2)
    assert not hasattr(dataset.create_subset([1, 2]), "cv0")


def test_shares_beside_folds_are_refused():
    with pytest.raises(ArgumentTypeError, match=r"no shares; got 0\.5"):
        Dataset(10).cv_split(0.5, n_splits=2)


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(ArgumentValueError, match=r"got 'k-fold'.*Did you mean 'kfold'"):
        Dataset(10).cv_split(method="k-fold")


# ---- kfold


@over_index_and_dataset
@pytest.mark.parametrize("shuffle", [False, 7])
@pytest.mark.parametrize(("n_items", "n_splits"), [(10, 5), (10, 3), (11, 4), (2, 2), (5, 5)])
def test_the_test_parts_of_the_folds_are_all_items_once(cls, shuffle, n_items, n_splits):
    folds = cls(n_items).kfold(n_splits, shuffle=shuffle)
    tested = [i for fold in folds for i in fold.test.indices.tolist()]
    assert sorted(tested) == list(range(n_items))


@over_index_and_dataset
@pytest.mark.parametrize("shuffle", [False, 7])
def test_a_fold_trains_on_all_that_it_does_not_test(cls, shuffle):
    for fold in cls(11).kfold(4, shuffle=shuffle):
        both = [*fold.train.indices.tolist(), *fold.test.indices.tolist()]
        assert sorted(both) == list(range(11))


@over_index_and_dataset
def test_the_sizes_of_folds_differ_by_one_at_most(cls):
    assert [len(fold.test) for fold in cls(11).kfold(4)] == [3, 3, 3, 2]


@over_index_and_dataset
def test_kfold_gives_a_tuple_of_splits_without_validation(cls):
    folds = cls(10).kfold()
    assert (type(folds), len(folds), type(folds[0])) == (tuple, 5, Split)
    assert folds[0].validation is None


@over_index_and_dataset
def test_folds_keep_the_order_of_the_items(cls):
    fold = cls(["a", "b", "c", "d", "e", "f"]).kfold(3)[1]
    assert (fold.train.indices.tolist(), fold.test.indices.tolist()) == (list("abef"), list("cd"))


def test_a_seed_gives_the_same_folds_again():
    one, other = (DatasetIndex(20).kfold(4, shuffle=3)[1].test.indices for _ in range(2))
    assert one.tolist() == other.tolist()


def test_kfold_sets_no_attributes():
    dataset = Dataset(10)
    before = dict(vars(dataset))
    dataset.kfold()
    assert vars(dataset) == before


@over_index_and_dataset
@pytest.mark.parametrize("n_splits", [0, 1, 11, -2])
def test_an_impossible_number_of_folds_is_refused(cls, n_splits):
    with pytest.raises(ArgumentValueError, match=f"2 to 10 folds, got n_splits={n_splits}"):
        cls(10).kfold(n_splits)


@over_index_and_dataset
@pytest.mark.parametrize("n_splits", [2.0, "5", True, None])
def test_a_number_of_folds_that_is_no_whole_number_is_refused(cls, n_splits):
    with pytest.raises(ArgumentTypeError, match="n_splits is a whole number"):
        cls(10).kfold(n_splits)


@pytest.mark.parametrize("shuffle", [False, 5])
def test_batches_of_a_fold_have_the_rows_of_its_items(shuffle):
    for fold in numbers().kfold(3, shuffle=shuffle):
        for part in (fold.train, fold.test):
            for batch in part.gen_batch(2, shuffle=1):
                assert batch.data.tolist() == [10 * i for i in batch.indices.tolist()]


def test_a_fold_of_a_part_has_the_rows_of_its_items():
    part = numbers().create_subset([9, 7, 5, 3]).kfold(4)[1].train
    assert part.next_batch(3).data.tolist() == [90, 50, 30]


def test_folds_of_files_know_their_paths(tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    fold = FilesIndex(tmp_path / "*").kfold(3)[1]
    assert fold.train.get_fullpath("c") == str(tmp_path / "c")


# ---- a thousand million items

MANY = 10**9


@over_index_and_dataset
@pytest.mark.parametrize(
    "split",
    [lambda whole: whole.split(0.5, 0.3, 0.2), lambda whole: whole.kfold(5)],
    ids=["split", "kfold"],
)
def test_splitting_a_range_needs_no_memory(cls, split):
    whole = cls(MANY)
    tracemalloc.start()
    try:
        parts = split(whole)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(parts) > 2, peak < 100_000) == (True, True)


def around(n=MANY):
    return DatasetIndex(n).kfold(5)[2].train


@pytest.mark.parametrize("item", [0, 4 * 10**8 - 1, 6 * 10**8, MANY - 1])
def test_an_id_beside_the_hole_is_found(item):
    assert around().get_pos(item) == (item if item < 5 * 10**8 else item - 2 * 10**8)


@pytest.mark.parametrize("item", [4 * 10**8, 6 * 10**8 - 1, MANY, -1, "a", 0.5])
def test_an_id_in_the_hole_or_outside_is_not_found(item):
    assert item not in around()


def test_the_ids_around_a_hole():
    index = around(10)
    assert list(index) == index.indices.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_the_repr_around_a_hole_shows_the_ranges():
    assert repr(around(10)) == "DatasetIndex(range(0, 4) + range(6, 10))"


def test_a_hole_is_pickled():
    assert pickle.loads(pickle.dumps(around(10))).indices.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_an_index_of_an_index_with_a_hole_has_its_ids():
    assert list(DatasetIndex(around(10))) == [0, 1, 2, 3, 6, 7, 8, 9]


@pytest.mark.parametrize("positions", [[3, 4], slice(3, 5), [-5, -4]], ids=repr)
def test_positions_go_around_the_hole(positions):
    assert around(10).take(positions).indices.tolist() == [3, 6]


def test_a_fold_of_a_fold_goes_around_both_holes():
    assert repr(around(20).kfold(4)[2].train) == "DatasetIndex(range(0, 8) + range(16, 20))"
    assert repr(around(20).kfold(8)[1].train) == (
        "DatasetIndex(range(0, 2) + range(4, 8) + range(12, 20))"
    )


@pytest.mark.parametrize("shuffle", [False, 3])
def test_a_run_over_a_hole_gives_each_item_once(shuffle):
    run = Dataset(around(10)).gen_batch(3, shuffle=shuffle)
    seen = [i for batch in run for i in batch.indices.tolist()]
    assert sorted(seen) == [0, 1, 2, 3, 6, 7, 8, 9]


def test_empty_ranges_are_left_out():
    assert repr(Ranges([range(0), range(3), range(5, 5)])) == "range(0, 3)"


# ---- from_batch


class Items(Batch):
    components = "items"


def test_a_dataset_of_a_batch_has_its_class_ids_and_data():
    dataset = Dataset.from_batch(numbers().create_batch([7, 3]))
    assert dataset.batch_class is ArrayBatch
    assert {i: int(dataset.create_batch(i).data[0]) for i in dataset.index} == {7: 70, 3: 30}


def test_a_dataset_of_a_batch_has_copies():
    batch = numbers().create_batch([7, 3])
    dataset = Dataset.from_batch(batch)
    batch.data[:] = 0
    assert dataset.next_batch(2).data.tolist() == [70, 30]


def test_a_dataset_of_a_batch_has_copies_of_objects():
    batch = Items(1)
    batch.items = [{"a": 1}]
    dataset = Dataset.from_batch(batch)
    batch.items[0]["a"] = 2
    assert dataset.next_batch(1).items[0] == {"a": 1}


def test_a_component_without_data_stays_none():
    batch = Pair(2)
    batch.labels = [5, 6]
    made = Dataset.from_batch(batch).next_batch(2)
    assert (made.images, made.labels.tolist()) == (None, [5, 6])


@pytest.mark.parametrize("cls", [Batch, Pair])
def test_a_batch_without_data_gives_batches_without_data(cls):
    assert Dataset.from_batch(cls(2)).next_batch(2).data == cls(2).data


def test_items_of_several_shapes_work():
    batch = Items(["a", "b"])
    batch.items = [np.zeros(1), np.zeros((2, 2))]
    dataset = Dataset.from_batch(batch)
    assert [item.shape for item in dataset.create_batch(["b", "a"]).items] == [(2, 2), (1,)]


def test_what_is_no_batch_is_refused():
    with pytest.raises(ArgumentTypeError, match="from_batch takes a batch"):
        Dataset.from_batch([1, 2])


def test_a_component_that_is_not_made_of_items_is_refused():
    batch = Items(2)
    batch.items = 5
    with pytest.raises(ArgumentTypeError, match=r"Items\.items"):
        Dataset.from_batch(batch)


# ---- create_subset, positions

KINDS = {
    "ints": [5, 3, 8],
    "strings": ["x", "yy", "zzz"],
    "tuples": [("a", 1), ("a", 2), ("b", 1)],
    "mixed": [1, "1", None],
    "floats": [0.5, 1.5, 2.5],
    "dates": np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[D]"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset_is_found_by_ids_of_any_kind(kind):
    dataset = Dataset(KINDS[kind], ArrayBatch, preloaded=np.array([10, 20, 30]))
    ids = list(dataset.index)
    subset = dataset.create_subset([ids[2], ids[0]])
    assert list(subset.index) == [ids[2], ids[0]]
    assert subset.next_batch(2).data.tolist() == [30, 10]


@pytest.mark.parametrize("method", ["create_subset", "create_batch"])
def test_an_unknown_id_is_refused(method):
    with pytest.raises(UnknownNameError, match="no item with the id 7"):
        getattr(Dataset(3), method)([7])


# ---- ids that are not equal to themselves


@pytest.mark.parametrize(
    "ids",
    [
        [1.0, float("nan")],
        np.array([np.nan, np.nan]),
        ["a", float("nan")],
        np.array(["a", np.nan], dtype=object),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
    ],
    ids=["list", "array", "mixed list", "objects", "dates"],
)
def test_nan_is_no_id(ids):
    with pytest.raises(ArgumentValueError, match="NaN and NaT are not"):
        DatasetIndex(ids)


# ---- the items at some positions


@pytest.mark.parametrize(
    ("positions", "data"),
    [
        ([3, 0], [30, 0]),
        ([-1], [90]),
        (slice(2, 4), [20, 30]),
        (slice(None, None, -5), [90, 40]),
        (np.arange(10) > 7, [80, 90]),
        ([True] + [False] * 9, [0]),
    ],
    ids=repr,
)
def test_take_has_the_rows_at_the_positions(positions, data):
    assert numbers().take(positions).next_batch(len(data)).data.tolist() == data


def test_take_of_a_part_counts_in_the_part():
    assert numbers().take([9, 7, 5]).take([2, 0]).next_batch(2).data.tolist() == [50, 90]


def test_a_mask_with_labels_goes_by_label():
    pd = pytest.importorskip("pandas")
    dataset = Dataset.from_arrays(ArrayBatch, index=["a", "b", "c"], data=np.arange(3))
    mask = pd.Series([True, False, True], index=["c", "a", "b"])
    assert dataset.take(mask).indices.tolist() == ["b", "c"]


@over_index_and_dataset
@pytest.mark.parametrize(
    ("positions", "error", "message"),
    [
        ([1, 1], ArgumentValueError, "more than once"),
        (np.array([2**64 - 1], "uint64"), ArgumentValueError, "position 18446744073709551615"),
        ([10], ArgumentValueError, "outside of an index of 10"),
        ([], ArgumentValueError, "no items are left"),
        ([False] * 10, ArgumentValueError, "no items are left"),
        ([True] * 9, ArgumentValueError, "one bool for each of the 10"),
        (["a"], ArgumentTypeError, "by ids, use create_subset"),
        ([0.5], ArgumentTypeError, "expected a slice"),
    ],
)
def test_take_refuses_what_are_no_positions(cls, positions, error, message):
    with pytest.raises(error, match=message):
        cls(10).take(positions)


# ---- classes


def test_a_dataset_that_numbered_no_labels_knows_no_classes():
    assert Dataset(3).classes is None


def test_parts_have_the_classes_of_the_whole():
    dataset = Dataset(4)
    dataset.classes = ("cat", "dog")
    assert dataset.take([1, 2]).split(0.5).train.classes == ("cat", "dog")


def test_classes_given_as_an_attribute_are_kept():
    assert Dataset(3, classes=("a", "b")).classes == ("a", "b")
