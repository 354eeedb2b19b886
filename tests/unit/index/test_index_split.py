"""Splits of an index: shares, counts, tuples, tolerance, shuffles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArgumentTypeError, ArgumentValueError, DatasetIndex


def sizes(split):
    return tuple(0 if part is None else len(part) for part in split)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), (8, 0, 2)),
        ((0.7,), (7, 0, 3)),
        ((7,), (7, 0, 3)),
        ((1,), (1, 0, 9)),
        ((1.0,), (10, 0, 0)),
        ((0.6, 0.3), (6, 3, 1)),
        ((0.6, 0.4), (6, 4, 0)),
        ((0.6, None, 0.2), (6, 2, 2)),
        ((0.6, 0.2, 0.2), (6, 2, 2)),
        ((6, 3, 1), (6, 3, 1)),
        ((6, 0.3, 0.1), (6, 3, 1)),
        ((0.5, 3), (5, 3, 2)),
        (((0.6, 0.3),), (6, 3, 1)),
        (((0.6, 0.3, 0.1),), (6, 3, 1)),
        (([6, 3],), (6, 3, 1)),
        (((0.7,),), (7, 0, 3)),
        ((np.float32(0.7), np.float32(0.2), np.float32(0.1)), (7, 2, 1)),
        ((np.int64(7),), (7, 0, 3)),
        ((0.5, 0.0, 0.5), (5, 0, 5)),
        ((10, 0, 0), (10, 0, 0)),
        ((0.25, 0.25), (2, 3, 5)),
        ((0.25, 0.25, 0.5), (2, 3, 5)),
    ],
)
def test_the_parts_have_the_sizes_asked_for(args, expected):
    assert sizes(DatasetIndex(10).split(*args)) == expected


def test_the_parts_have_names():
    split = DatasetIndex(10).split(train=0.5, validation=0.3, test=0.2)
    assert [len(split.train), len(split.validation), len(split.test)] == [5, 3, 2]


def test_a_part_without_items_is_none():
    assert DatasetIndex(10).split(0.8).validation is None


def test_shares_that_add_up_to_one_but_for_rounding_are_taken():
    assert sizes(DatasetIndex(1000).split(0.7, 0.2, 0.1)) == (700, 200, 100)


def test_thirds_lose_no_item():
    assert sum(sizes(DatasetIndex(10).split(1 / 3, 1 / 3, 1 / 3))) == 10


@pytest.mark.parametrize(
    "args",
    [(0.8, 0.3), (11,), (6, 3, 2), (0.5, 0.2, 0.2), (6, 3, 0), (1.0, 1)],
    ids=repr,
)
def test_parts_that_do_not_add_up_are_refused(args):
    with pytest.raises(ArgumentValueError, match="of 10 items"):
        DatasetIndex(10).split(*args)


@pytest.mark.parametrize(
    "args", [(10**7 - 5, 3, 1), (10**7 - 5, 9), (10**7 - 1, 2, 0)], ids=["less", "more", "one more"]
)
def test_counts_must_fit_exactly_however_many_items_there_are(args):
    with pytest.raises(ArgumentValueError):
        DatasetIndex(10**7).split(*args)


@pytest.mark.parametrize("share", [1.5, -0.1, 2.0, float("nan"), float("inf")])
def test_a_share_outside_zero_and_one_is_refused_with_a_word_on_counts(share):
    with pytest.raises(ArgumentValueError, match=r"between 0 and 1.*counts are ints"):
        DatasetIndex(10).split(share)


@pytest.mark.parametrize("wrong", ["a lot", True, [0.5, "x"], object()])
def test_a_part_that_is_no_number_is_refused(wrong):
    with pytest.raises(ArgumentTypeError, match="share"):
        DatasetIndex(10).split(wrong)


def test_a_negative_count_is_refused():
    with pytest.raises(ArgumentValueError, match="negative"):
        DatasetIndex(10).split(5, -1)


@pytest.mark.parametrize("train", [0, 0.0, 0.01])
def test_nothing_to_train_on_is_refused(train):
    with pytest.raises(ArgumentValueError, match="none to train"):
        DatasetIndex(10).split(train)


def test_no_train_part_is_refused():
    with pytest.raises(ArgumentTypeError, match="train"):
        DatasetIndex(10).split(None)


def test_a_tuple_beside_a_named_part_is_refused():
    with pytest.raises(ArgumentTypeError, match="tuple"):
        DatasetIndex(10).split((0.5, 0.5), test=0.1)


@pytest.mark.parametrize("parts", [(), (0.1, 0.2, 0.3, 0.4)])
def test_a_tuple_of_too_few_or_too_many_parts_is_refused(parts):
    with pytest.raises(ArgumentValueError, match="1 to 3 parts"):
        DatasetIndex(10).split(parts)


def test_without_a_shuffle_the_parts_are_contiguous():
    split = DatasetIndex(list("abcdefgh")).split(0.5, 0.25)
    assert ["".join(part.indices) for part in split] == ["abcd", "ef", "gh"]


def test_an_int_shuffle_gives_the_same_parts_again():
    one, two = (DatasetIndex(100).split(0.5, shuffle=7).train.indices for _ in range(2))
    assert one.tolist() == two.tolist()


def test_different_int_shuffles_give_different_parts():
    one, two = (DatasetIndex(100).split(0.5, shuffle=seed).train.indices for seed in (7, 8))
    assert one.tolist() != two.tolist()


@pytest.mark.parametrize("seed", [0, 1, np.int64(1)])
def test_an_int_shuffle_shuffles(seed):
    assert DatasetIndex(100).split(0.5, shuffle=seed).train.indices.tolist() != list(range(50))


def test_shuffle_true_gives_other_parts_each_time():
    one, two = (DatasetIndex(100).split(0.5, shuffle=True).train.indices for _ in range(2))
    assert one.tolist() != two.tolist()


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_generator_shuffles_reproducibly(make):
    one, two = (DatasetIndex(100).split(0.5, shuffle=make(3)).train.indices for _ in range(2))
    assert one.tolist() == two.tolist()


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_generator_goes_on_with_each_split(make):
    rng = make(3)
    one, two = (DatasetIndex(100).split(0.5, shuffle=rng).train.indices for _ in range(2))
    assert one.tolist() != two.tolist()


@pytest.mark.parametrize("wrong", ["yes", 1.5, [1, 2]], ids=repr)
def test_a_shuffle_of_the_wrong_type_is_refused(wrong):
    with pytest.raises(ArgumentTypeError, match=r"split: expected True, False, a seed"):
        DatasetIndex(10).split(0.5, shuffle=wrong)


def test_a_negative_seed_is_refused():
    with pytest.raises(ArgumentValueError, match="negative, got -1"):
        DatasetIndex(10).split(0.5, shuffle=-1)


def test_a_shuffled_split_of_many_items_is_complete():
    n_items = 2**16 + 5
    split = DatasetIndex(n_items).split(0.5, 0.25, shuffle=3)
    ids = np.concatenate([part.indices for part in split])
    assert np.array_equal(np.sort(ids), np.arange(n_items))


@settings(derandomize=True, database=None, deadline=None)
@given(
    n_items=st.integers(3, 200),
    train=st.floats(0.4, 1),
    rest=st.floats(0, 1),
    shuffle=st.sampled_from([False, 0, 5]),
)
def test_the_parts_are_disjoint_and_complete(n_items, train, rest, shuffle):
    split = DatasetIndex(n_items).split(train, (1 - train) * rest, shuffle=shuffle)
    ids = [i for part in split if part is not None for i in part.indices.tolist()]
    assert sorted(ids) == list(range(n_items))


@settings(derandomize=True, database=None, deadline=None)
@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50))
def test_counts_that_fit_are_given_exactly(train, validation, test):
    index = DatasetIndex(train + validation + test)
    assert sizes(index.split(train, validation, test)) == (train, validation, test)


def test_an_array_of_parts_is_a_tuple_of_parts():
    parts = DatasetIndex(10).split(np.array([0.5, 0.3, 0.2]))
    assert [len(part) for part in parts] == [5, 3, 2]
