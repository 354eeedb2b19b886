"""Splits by labels, groups, hashes of ids and given items."""

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, Dataset, DatasetIndex
from batchflow.index.rounding import rounded_counts

over_index_and_dataset = pytest.mark.parametrize("cls", [DatasetIndex, Dataset])
NAMES = ("train", "validation", "test")


def ids_of(split):
    return [[] if part is None else part.indices.tolist() for part in split]


def labels_of(n_items, n_labels, seed=0):
    return np.random.default_rng(seed).integers(0, n_labels, n_items)


# ---- labels


@over_index_and_dataset
@pytest.mark.parametrize("shuffle", [False, 3])
def test_each_label_has_its_share_in_each_part(cls, shuffle):
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    split = cls(100).split(0.6, 0.3, shuffle=shuffle, stratify=labels)
    found = [np.bincount(labels[part.indices]).tolist() for part in split]
    assert found == [[30, 18, 12], [15, 9, 6], [5, 3, 2]]


def test_shares_of_labels_are_kept_within_one_item_in_any_case():
    rng = np.random.default_rng(5)
    for case in range(300):
        n_items = int(rng.integers(3, 60))
        labels = labels_of(n_items, rng.integers(1, 9), case)
        sizes = rng.multinomial(n_items - 1, [0.6, 0.2, 0.2]) + np.array([1, 0, 0])
        parts = DatasetIndex(n_items).split(*map(int, sizes), shuffle=case, stratify=labels)
        assert [len(ids) for ids in ids_of(parts)] == sizes.tolist()
        for ids, size in zip(ids_of(parts), sizes, strict=True):
            share = np.bincount(labels) * size / n_items
            assert (abs(np.bincount(labels[ids], minlength=len(share)) - share) < 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_rounded_tables_keep_all_sums(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        counts = rng.integers(1, 9, rng.integers(1, 12))
        sizes = rng.multinomial(counts.sum(), [0.5, 0.3, 0.2])
        table = rounded_counts(counts, sizes.tolist())
        assert (table.sum(0).tolist(), table.sum(1).tolist()) == (sizes.tolist(), counts.tolist())
        assert (abs(table - np.outer(counts, sizes) / counts.sum()) < 1).all()


@over_index_and_dataset
def test_each_fold_has_each_label_within_one_item(cls):
    labels = labels_of(103, 4)
    folds = cls(103).kfold(5, shuffle=1, stratify=labels)
    assert [len(fold.test) for fold in folds] == [21, 21, 21, 20, 20]
    for fold in folds:
        difference = np.bincount(labels[fold.test.indices]) - np.bincount(labels) / 5
        assert (abs(difference) < 1).all()
        assert sorted(ids_of(fold)[0] + ids_of(fold)[2]) == list(range(103))


@pytest.mark.parametrize(
    "values",
    [np.array, list, lambda v: np.array(v, dtype=object)],
    ids=["texts", "list", "objects"],
)
def test_texts_split_alike_in_any_container(values):
    texts = [f"class {i}" for i in labels_of(50, 3)]
    expected = ids_of(DatasetIndex(50).split(0.5, shuffle=1, stratify=labels_of(50, 3)))
    assert ids_of(DatasetIndex(50).split(0.5, shuffle=1, stratify=values(texts))) == expected


@pytest.mark.parametrize(
    ("dtype", "least"),
    [("int8", -3), ("uint8", 100), ("int64", -(2**62)), ("uint64", 2**63), ("object", 0)],
)
def test_whole_numbers_split_alike_in_any_dtype(dtype, least):
    numbers = [int(number) + least for number in labels_of(50, 5)]
    splits = [
        DatasetIndex(50).split(0.5, shuffle=1, stratify=values)
        for values in (np.array(numbers, dtype), labels_of(50, 5).astype(str))
    ]
    assert ids_of(splits[0]) == ids_of(splits[1])
    assert list(splits[0].label_shares) == list(dict.fromkeys(numbers))


def test_labels_of_a_column_go_by_label_where_ids_were_given():
    pd = pytest.importorskip("pandas")
    ids = [f"p{i}" for i in range(8)]
    column = pd.Series([0, 1] * 4, index=ids)
    expected = ids_of(DatasetIndex(ids).split(0.5, stratify=column.to_numpy()))
    assert ids_of(DatasetIndex(ids).split(0.5, stratify=column[::-1])) == expected
    with pytest.raises(ArgumentValueError, match=r"no row with these labels: \['p7'\]"):
        DatasetIndex(ids).split(0.5, stratify=column[:7])


class Pair(ArrayBatch):
    components = "x", "y"


class Squares:
    def __len__(self):
        return 3000

    def read(self, positions):
        return {"x": positions, "y": positions % 3}


@pytest.mark.parametrize(
    "dataset",
    [
        Dataset.from_arrays(Pair, x=np.arange(3000), y=np.arange(3000) % 3),
        Dataset(3000, Pair, source=Squares()),
    ],
    ids=["arrays", "source"],
)
def test_a_component_is_named_to_split_by(dataset):
    part = dataset.take(np.arange(3000) % 4 == 0)
    batch = part.split(0.5, stratify="y").test.next_batch(375)
    assert np.bincount(batch.y).tolist() == [125, 125, 125]


@pytest.mark.parametrize(
    ("dataset", "name", "error", "message"),
    [
        (Dataset(3, Pair), "z", ArgumentValueError, "'z' is no component of Pair"),
        (Dataset(3, Pair), "y", ArgumentTypeError, "was given no 'y'; give the values"),
        (DatasetIndex(3), "y", ArgumentTypeError, "expected one value for each item"),
    ],
)
def test_a_component_that_is_not_there_is_refused(dataset, name, error, message):
    with pytest.raises(error, match=message):
        dataset.split(0.5, stratify=name)


def test_shares_of_labels_are_told():
    split = Dataset(10).split(0.5, 0.3, stratify=list("aaaaabbbbb"))
    assert split.shares == (0.5, 0.3, 0.2)
    told = split.label_shares
    assert [round(sum(told[name]), 9) for name in "ab"] == [1, 1]
    assert told["a"] in [(0.4, 0.4, 0.2), (0.6, 0.2, 0.2)]
    assert Dataset(10).split().label_shares is None


@pytest.mark.parametrize("rule", ["stratify", "groups"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("nan"), 2.0], r"1 items have no value, such as those with the ids \[1\]"),
        (["a", None, "b"], "1 items have no value"),
        (np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]), "1 items have no value"),
        ([1, 2], r"one value for each of the 3 items, got the shape \(2,\)"),
        ([[1, 2], [3, 4], [5, 6]], "one value for each of the 3 items"),
    ],
)
def test_values_that_are_missing_or_too_few_are_refused(rule, values, message):
    with pytest.raises(ArgumentValueError, match=message):
        DatasetIndex(3).split(0.5, **{rule: values})


# ---- groups


def test_no_group_is_in_two_parts_in_many_random_cases():
    rng = np.random.default_rng(1)
    for case in range(400):
        n_items = int(rng.integers(8, 40))
        groups = rng.integers(0, rng.integers(4, 30), n_items)
        if len(set(groups.tolist())) < 3:
            continue
        rules = {"stratify": labels_of(n_items, 3, case)} if case % 2 else {}
        if case % 3:
            parts = ids_of(
                DatasetIndex(n_items).split(0.6, 0.2, shuffle=case, groups=groups, **rules)
            )
        else:
            folds = DatasetIndex(n_items).kfold(3, shuffle=case, groups=groups, **rules)
            parts = [fold.test.indices.tolist() for fold in folds]
        owners = [set(groups[ids].tolist()) for ids in parts]
        assert sum(map(len, owners)) == len(set(groups.tolist()))
        assert (all(owners), sorted(i for ids in parts for i in ids)) == (True, [*range(n_items)])


@over_index_and_dataset
def test_parts_of_small_groups_have_their_shares(cls):
    groups = np.repeat(np.arange(500), np.random.default_rng(2).integers(1, 6, 500))
    split = cls(len(groups)).split(0.8, 0.1, groups=groups, shuffle=1)
    assert np.abs(np.array(split.shares) - [0.8, 0.1, 0.1]).max() < 0.005


def test_groups_with_labels_have_shares_of_both():
    rng = np.random.default_rng(3)
    of_group, groups = rng.integers(0, 3, 400), np.repeat(np.arange(400), rng.integers(1, 6, 400))
    split = Dataset(len(groups)).split(
        0.7, 0.15, groups=groups, stratify=of_group[groups], shuffle=2
    )
    found = np.array([split.shares, *split.label_shares.values()])
    assert np.abs(found - [0.7, 0.15, 0.15]).max() < 0.02


@pytest.mark.parametrize("n_parts", [3, 5])
def test_many_groups_that_all_differ_have_their_shares_of_each_label(n_parts):
    rng = np.random.default_rng(4)
    n_groups, n_labels = 20_000, 30
    sizes = np.minimum(rng.lognormal(1, 0.8, n_groups).astype(int) + 2, 200)
    groups = np.repeat(np.arange(n_groups), sizes)
    labels = rng.integers(0, n_labels, len(groups))
    index = DatasetIndex(len(groups))
    rules = {"groups": groups, "stratify": labels, "shuffle": 3}
    if n_parts == 3:
        parts, shares = index.split(0.8, 0.1, **rules), [0.8, 0.1, 0.1]
    else:
        parts, shares = [fold.test for fold in index.kfold(5, **rules)], [0.2] * 5
    owners = np.full(len(groups), -1)
    for part, share in zip(parts, shares, strict=True):
        owners[part.indices] = share_number = owners.max() + 1
        found = np.bincount(labels[owners == share_number], minlength=n_labels)
        assert abs(found - share * np.bincount(labels)).max() < 4
        assert abs(len(part) - share * len(groups)) < 40
    assert len(np.unique(groups * n_parts + owners)) == n_groups


def test_a_large_group_is_trained_on():
    groups = ["small"] * 2 + ["large"] * 20 + ["other"] * 2
    split = DatasetIndex(24).split(0.8, 0.1, groups=groups)
    assert [len(part) for part in split] == [20, 2, 2]


@pytest.mark.parametrize("by", ["same", "shuffled"])
def test_a_seed_gives_the_same_groups_again(by):
    groups = labels_of(60, 20)
    options = {"shuffle": 4} if by == "shuffled" else {}
    one, other = (ids_of(DatasetIndex(60).split(0.5, groups=groups, **options)) for _ in "ab")
    assert one == other


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.split(0.5, groups=[1] * 6), r"1 group cannot be in 2 parts"),
        (lambda i: i.split(0.5, 0.25, groups=[1, 1, 1, 2, 2, 2]), "2 groups cannot be in 3 parts"),
        (lambda i: i.kfold(3, groups=[1, 1, 1, 2, 2, 2]), "kfold: .* 2 groups cannot be in 3"),
    ],
)
def test_fewer_groups_than_parts_are_refused(call, message):
    with pytest.raises(ArgumentValueError, match=message):
        call(DatasetIndex(6))


# ---- hashes


def owners_of(split):
    parts = zip(NAMES, split, strict=True)
    return {i: name for name, part in parts if part for i in part.indices.tolist()}


@over_index_and_dataset
def test_an_item_stays_in_its_part_when_others_are_added(cls):
    ids = [f"cat/{i:03}.jpg" for i in range(300)]
    before = owners_of(cls(ids[100:]).split(0.6, 0.2, by="hash"))
    after = owners_of(cls([*ids[::-1], "x" * 500, ("a", 1), 5]).split(0.6, 0.2, by="hash"))
    assert before.items() <= after.items()
    assert len(set(before.values())) == 3


def test_the_parts_of_hashes_are_the_same_on_every_machine():
    ids = [0, 1, 2, "a", "bé", ("a", 1), b"x", 2.5, None, "", 2**70, -1]
    split = DatasetIndex(ids).split(0.5, by="hash")
    assert split.train.indices.tolist() == PINNED


PINNED = ["bé", ("a", 1), b"x", 2.5, None]


def test_equal_ids_are_in_one_part_whatever_their_type():
    by_int = owners_of(DatasetIndex(np.arange(50)).split(0.5, by="hash"))
    for ids in (50, np.arange(50, dtype="uint8"), np.arange(50.0), [*range(50), "text"]):
        found = owners_of(DatasetIndex(ids).split(0.5, by="hash"))
        assert {i: found[i] for i in range(50)} == by_int


def test_shares_of_hashes_are_reached_on_average():
    shares = DatasetIndex(10**5).split(0.8, 0.1, by="hash").shares
    assert np.abs(np.array(shares) - [0.8, 0.1, 0.1]).max() < 0.005


def test_another_key_gives_other_parts():
    first, second = (DatasetIndex(50).split(0.5, by="hash", shuffle=key) for key in (1, 2))
    assert ids_of(first) != ids_of(second)


def test_groups_are_hashed_as_a_whole():
    groups = labels_of(200, 40)
    split = DatasetIndex(200).split(0.5, by="hash", groups=groups)
    owners = [set(groups[ids].tolist()) for ids in ids_of(split) if ids]
    assert sum(map(len, owners)) == len(set(groups.tolist()))


def test_folds_of_hashes_are_all_items_once():
    folds = DatasetIndex(100).kfold(4, by="hash")
    assert sorted(i for fold in folds for i in fold.test.indices.tolist()) == [*range(100)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda i: i.split(0.5, by="hush"), ArgumentValueError, 'by is "hash" or left out'),
        (lambda i: i.split(50, by="hash"), ArgumentTypeError, "parts are shares"),
        (lambda i: i.split(0.5, shuffle=True, by="hash"), ArgumentTypeError, "give a key"),
        (lambda i: i.split(0.5, stratify=[0] * 100, by="hash"), ArgumentTypeError, "one id at a"),
        (lambda i: i.split(1e-9, by="hash"), ArgumentValueError, "no hash of the 100 ids"),
        (lambda i: i.kfold(90, by="hash"), ArgumentValueError, "leave a fold of 90 empty"),
        (
            lambda i: DatasetIndex([frozenset("a"), "b"]).split(0.5, by="hash"),
            ArgumentTypeError,
            "some are of frozenset",
        ),
    ],
)
def test_what_hashes_cannot_do_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(DatasetIndex(100))


# ---- given items


@over_index_and_dataset
@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"train": [True, False, True, False, False]}, [[0, 2], [], [1, 3, 4]]),
        ({"train": [4, 0]}, [[4, 0], [], [1, 2, 3]]),
        ({"train": np.array([3]), "test": np.arange(5) < 2}, [[3], [2, 4], [0, 1]]),
        ({"test": [1]}, [[0, 2, 3, 4], [], [1]]),
        ({"validation": [0], "test": slice(3, 5)}, [[1, 2], [0], [3, 4]]),
        ({"train": range(3), "validation": [3], "test": [-1]}, [[0, 1, 2], [3], [4]]),
    ],
    ids=repr,
)
def test_parts_are_given_by_their_items(cls, given, parts):
    assert ids_of(cls(5).split(**given)) == parts


@over_index_and_dataset
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"train": [0, 1], "test": [1, 2]},
            ArgumentValueError,
            r"1 items in common, such as \[1\]",
        ),
        ({"train": [0, 0]}, ArgumentValueError, r"train has positions twice: \[0\]"),
        ({"train": [7]}, ArgumentValueError, "split: train: position 7 is outside"),
        ({"train": ["a"]}, ArgumentTypeError, "split: train: expected a slice"),
        ({"train": [True]}, ArgumentValueError, "one bool for each of the 5"),
        ({"train": []}, ArgumentValueError, "no items to train"),
        ({"train": [0], "test": 0.5}, ArgumentTypeError, "test=0.5 beside a part"),
        ({"train": [0], "shuffle": 1}, ArgumentTypeError, "the parts are settled"),
        ({"train": [0], "stratify": [1] * 5}, ArgumentTypeError, "the parts are settled"),
        (
            {"train": [0], "validation": [1], "test": [2]},
            ArgumentValueError,
            "2 of 5 items are in no part",
        ),
    ],
    ids=repr,
)
def test_given_items_that_do_not_fit_are_refused(cls, given, error, message):
    with pytest.raises(error, match=message):
        cls(5).split(**given)


def test_shares_in_a_row_of_a_dataset_are_still_refused():
    with pytest.raises(ArgumentTypeError, match="the order of shares in a row"):
        Dataset(5).split([3, 2])


def test_a_split_of_many_items_by_labels_takes_no_loop_over_items():
    index, labels = DatasetIndex(200_000), np.arange(200_000) % 7
    groups = np.arange(200_000) // 4
    calls = []
    import sys

    sys.setprofile(lambda *event: calls.append(event[1]))
    try:
        index.split(0.8, 0.1, stratify=labels, shuffle=1)
        index.split(0.8, 0.1, groups=groups, stratify=groups % 7, shuffle=1)
        index.split(0.8, 0.1, by="hash")
    finally:
        sys.setprofile(None)
    assert len(calls) < 20_000
