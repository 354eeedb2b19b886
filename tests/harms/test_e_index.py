"""Faults of an older batchflow, E: splits, orders and ids of an index."""

import numpy as np
import pytest

from batchflow import Dataset, DatasetIndex

from .conftest import PREFETCH, MyBatch, each_prefetch, ids

over_index_and_dataset = pytest.mark.parametrize("cls", [DatasetIndex, Dataset])


def sizes(split):
    return tuple(0 if part is None else len(part) for part in split)


# ---- E2, E3, E4: split


@pytest.mark.parametrize("shares", [(0.6, 0.3), [0.6, 0.3]])
def test_e2_a_tuple_of_two_shares_leaves_the_rest_to_test(shares):
    assert sizes(DatasetIndex(10).split(shares)) == (6, 3, 1)


@over_index_and_dataset
def test_e2_two_shares_leave_the_rest_to_test(cls):
    assert sizes(cls(10).split(0.6, 0.3)) == (6, 3, 1)


def test_e2_a_tuple_of_counts_is_taken_as_counts():
    assert sizes(DatasetIndex(10).split((5, 4))) == (5, 4, 1)


@pytest.mark.parametrize("shares", [[0.33, 0.56, 0.11], [0.34, 0.55, 0.11]])
def test_e3_shares_whose_floating_point_sum_is_not_1_are_accepted(shares):
    assert sizes(DatasetIndex(100).split(shares)) == tuple(round(100 * s) for s in shares)


def test_e3_every_triple_of_percents_splits_a_hundred_items_exactly():
    index = DatasetIndex(100)
    triples = [(a, b, 100 - a - b) for a in range(1, 99) for b in range(1, 100 - a)]
    assert len(triples) == 4851
    wrong = [t for t in triples if sizes(index.split([share / 100 for share in t])) != t]
    assert wrong == []


def test_e3_shares_that_do_not_sum_to_1_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        DatasetIndex(100).split([0.33, 0.56, 0.12])


@over_index_and_dataset
def test_e4_a_second_split_has_no_validation_of_the_first(cls):
    whole = cls(10)
    assert sizes(whole.split(0.6, 0.2, 0.2)) == (6, 2, 2)
    assert whole.split(0.5).validation is None


@over_index_and_dataset
def test_e4_the_parts_of_a_second_split_have_no_common_items(cls):
    whole = cls(10)
    whole.split(0.6, 0.2, 0.2)
    train, _, test = whole.split(0.5)
    assert sorted([*train.indices.tolist(), *test.indices.tolist()]) == list(range(10))


@over_index_and_dataset
def test_e4_a_second_split_leaves_the_first_as_it_was(cls):
    whole = cls(10)
    first = whole.split(0.6, 0.2, 0.2)
    whole.split(0.5)
    assert sizes(first) == (6, 2, 2)


# ---- E5: the progress bar


@each_prefetch
def test_e5_a_bar_over_a_dataset_gives_the_batches(prefetch, capsys):
    assert ids(Dataset(6).gen_batch(2, bar=True, prefetch=prefetch)) == [0, 1, 2, 3, 4, 5]


def test_e5_a_bar_over_a_dataset_shows_the_number_of_batches(capsys):
    list(Dataset(6).gen_batch(2, bar=True))
    assert "3/3" in capsys.readouterr().err


# ---- E6, E7: orders belong to runs


def test_e6_two_datasets_on_one_index_are_read_independently():
    index = DatasetIndex(6)
    one, other = Dataset(index), Dataset(index)
    read = [ids([dataset.next_batch(2)]) for dataset in (one, other, one, other)]
    assert read == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_e6_two_pipelines_on_one_dataset_are_read_independently():
    dataset = Dataset(6, MyBatch)
    one, other = dataset.p.ok(), dataset.p.ok()
    read = [ids([p.next_batch(2)]) for p in (one, other, one, other)]
    assert read == [[0, 1], [0, 1], [2, 3], [2, 3]]


@each_prefetch
def test_e6_two_runs_with_orders_of_their_own_do_not_disturb_each_other(prefetch):
    index = DatasetIndex(20)

    def run(seed):
        return Dataset(index).gen_batch(2, shuffle=seed, n_epochs=2, prefetch=prefetch)

    alone = [ids(run(seed)) for seed in (1, 2)]
    together = [[], []]
    for pair in zip(run(1), run(2), strict=True):
        for seen, batch in zip(together, pair, strict=True):
            seen += ids([batch])
    assert together == alone


@pytest.mark.parametrize("shuffle", [False, 3, 4, 5, 6])
@pytest.mark.parametrize("prefetch", PREFETCH)
def test_e7_no_id_is_twice_in_a_batch(shuffle, prefetch):
    run = Dataset(4).gen_batch(3, shuffle=shuffle, n_epochs=3, prefetch=prefetch)
    assert all(len(set(ids([batch]))) == len(batch) for batch in run)


@pytest.mark.parametrize("shuffle", [False, 3, 4, 5, 6])
def test_e7_no_batch_crosses_the_border_of_an_epoch(shuffle):
    run = Dataset(4).gen_batch(3, shuffle=shuffle, n_epochs=3)
    assert [len(batch) for batch in run] == [3, 1] * 3


@pytest.mark.parametrize("shuffle", [False, 3, 4, 5, 6])
def test_e7_every_epoch_has_every_id_once(shuffle):
    seen = ids(Dataset(4).gen_batch(3, shuffle=shuffle, n_epochs=3))
    assert [sorted(seen[i : i + 4]) for i in (0, 4, 8)] == [[0, 1, 2, 3]] * 3


# ---- E9: what an index is made from


@pytest.mark.parametrize("size", [5, np.int64(5), np.uint8(5), np.array(5)])
def test_e9_anything_like_an_int_is_a_number_of_items(size):
    assert DatasetIndex(size).indices.tolist() == [0, 1, 2, 3, 4]


TUPLES = [("a", 1), ("a", 2), ("b", 1)]


def test_e9_tuples_are_ids():
    index = DatasetIndex(TUPLES)
    assert list(index) == index.indices.tolist() == TUPLES


def test_e9_tuples_are_found_by_id():
    index = DatasetIndex(TUPLES)
    assert [index.get_pos(item) for item in TUPLES] == [0, 1, 2]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_e9_a_dataset_with_tuples_as_ids_gives_the_right_items(prefetch):
    dataset = Dataset(TUPLES, preloaded=np.array([10, 20, 30]))
    run = dataset.gen_batch(2, shuffle=1, prefetch=prefetch)
    seen = {item: int(batch[item]) for batch in run for item in batch.indices.tolist()}
    assert seen == dict(zip(TUPLES, [10, 20, 30], strict=True))


def test_e9_a_batch_is_made_of_a_list_of_tuples():
    batch = Dataset(TUPLES).create_batch([("b", 1), ("a", 1)])
    assert batch.indices.tolist() == [("b", 1), ("a", 1)]


def test_e9_a_batch_is_made_of_one_tuple():
    batch = Dataset(TUPLES).create_batch(("b", 1))
    assert batch.indices.tolist() == [("b", 1)]
