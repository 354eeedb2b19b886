"""`dataset.shard(k, n)`: shares of each epoch for trainers that go through it together."""

import pickle

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Dataset, action
from batchflow.testing import digest

N_ITEMS = 23


class Rows(ArrayBatch):
    components = "rows"

    @action
    def add_noise(self):
        self.noise = self.rng.random()
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, rows=np.arange(2.0 * N_ITEMS).reshape(N_ITEMS, 2))


def epochs(part, n_epochs, **options):
    """The ids of each epoch."""
    ids = [[] for _ in range(n_epochs)]
    for batch in part.p.gen_batch(3, n_epochs=n_epochs, **options):
        assert batch.rows[:, 0].tolist() == (2.0 * batch.indices).tolist()
        ids[batch.epoch].extend(batch.indices.tolist())
    return ids


@pytest.mark.parametrize("shuffle", [False, True, 7, lambda places: places[::-1]])
@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_shards_are_disjoint_and_complete_in_each_epoch(dataset, count, shuffle):
    parts = [epochs(dataset.shard(k, count), 3, shuffle=shuffle, seed=1) for k in range(count)]
    for epoch in range(3):
        ids = [i for part in parts for i in part[epoch]]
        assert sorted(ids) == list(range(N_ITEMS))
        sizes = [len(part[epoch]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert sizes == [len(dataset.shard(k, count)) for k in range(count)]


def test_a_shuffled_epoch_deals_all_items_out_anew(dataset):
    first, second = epochs(dataset.shard(0, 2), 2, shuffle=True, seed=1)
    assert set(first) != set(second)


def test_a_shard_is_cut_out_of_the_order_of_the_whole(dataset):
    whole = epochs(dataset, 2, shuffle=True, seed=4)
    parts = [epochs(dataset.shard(k, 3), 2, shuffle=True, seed=4) for k in range(3)]
    for epoch in range(2):
        assert [i for part in parts for i in part[epoch]] == whole[epoch]


def test_equal_shards_have_the_same_size_and_leave_others_out_in_each_epoch(dataset):
    parts = [dataset.shard(k, 5, equal=True) for k in range(5)]
    assert [len(part) for part in parts] == [4] * 5
    seen = [epochs(part, 4, shuffle=True, seed=2) for part in parts]
    left_out = []
    for epoch in range(4):
        ids = [i for part in seen for i in part[epoch]]
        assert len(ids) == len(set(ids)) == 20
        left_out.append(frozenset(range(N_ITEMS)) - set(ids))
    assert len(set(left_out)) > 1


def test_a_large_dataset_is_sharded_without_listing_it():
    parts = [Dataset(10**9).shard(k, 7) for k in range(7)]
    assert sum(map(len, parts)) == 10**9
    firsts = [next(p.gen_batch(4, shuffle=True, seed=1)).indices.tolist() for p in parts]
    assert len({i for ids in firsts for i in ids}) == 28


def test_each_shard_has_random_numbers_of_its_own(dataset):
    def noise(part):
        return [b.noise for b in part.p.add_noise().gen_batch(3, seed=1)]

    draws = [noise(part) for part in (dataset, dataset.shard(0, 2), dataset.shard(1, 2))]
    assert len({x for row in draws for x in row}) == sum(map(len, draws))


@pytest.mark.parametrize("prefetch", [0, 4])
def test_the_batches_of_a_shard_are_the_same_at_every_parallelism(dataset, prefetch):
    p = dataset.shard(1, 3).p.add_noise()
    told = [
        (b.number, b.epoch, digest(b.rows), b.noise)
        for b in p.gen_batch(3, shuffle=True, seed=9, n_epochs=2, prefetch=prefetch)
    ]
    again = [p.replay(n, 3, shuffle=True, seed=9, n_epochs=2) for n, *_ in told]
    assert told == [(b.number, b.epoch, digest(b.rows), b.noise) for b in again]


def test_shards_of_one_order_need_one_seed(dataset):
    with pytest.raises(ArgumentValueError, match="seed=1"):
        dataset.shard(0, 2).gen_batch(2, shuffle=True)
    dataset.shard(0, 2).gen_batch(2)


def test_the_batch_size_is_checked_against_the_shard(dataset):
    with pytest.raises(ArgumentValueError, match="11 items"):
        dataset.shard(0, 2).gen_batch(12, drop_last=True)
    with pytest.raises(ArgumentValueError, match="11 items"):
        dataset.shard(0, 2).p.feed(12, B.rows, drop_last=True)


def test_a_shard_smaller_than_the_batch_has_one_short_batch(dataset):
    assert [len(batch) for batch in dataset.shard(0, 2).gen_batch(12)] == [11]


def test_batches_are_found_by_id_and_joined_over_the_whole(dataset):
    shard = dataset.shard(0, 2)
    assert shard.create_batch([20]).rows[0, 0] == 40
    assert shard.index is not None
    assert len(shard.index) == N_ITEMS


def test_shards_of_parts_of_a_split(dataset):
    train = dataset.split(0.5, shuffle=3).train
    ids = [i for k in range(2) for i in epochs(train.shard(k, 2), 1)[0]]
    assert ids == train.indices.tolist()


@pytest.mark.tensorflow
@pytest.mark.parametrize("shuffle", [True, lambda places: places[::-1]])
def test_keras_reads_a_shard(dataset, shuffle):
    pytest.importorskip("keras")
    shard = dataset.shard(1, 2)
    whole = epochs(shard, 1, shuffle=shuffle, seed=3)[0]
    with shard.p.feed(3, B.rows, shuffle=shuffle, seed=3).to_keras() as data:
        data.on_epoch_begin()
        rows = np.concatenate([data[place][0] for place in range(len(data))])
    assert rows[:, 0].tolist() == [2.0 * i for i in whole]


def test_a_shard_travels(dataset):
    shard = pickle.loads(pickle.dumps(Dataset(10).shard(1, 2)))
    assert [b.indices.tolist() for b in shard.gen_batch(5)] == [[5, 6, 7, 8, 9]]


@pytest.mark.parametrize("method", ["split", "kfold", "cv_split"])
def test_a_shard_is_not_split(dataset, method):
    with pytest.raises(ArgumentValueError, match="shard the result"):
        getattr(dataset.shard(0, 2), method)()


def test_a_shard_is_not_sharded_or_cut(dataset):
    shard = dataset.shard(0, 2)
    with pytest.raises(ArgumentValueError, match="shard the result"):
        shard.shard(0, 2)
    with pytest.raises(ArgumentValueError, match="shard the result"):
        shard.create_subset([1])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((2, 2), ArgumentValueError),
        ((-1, 2), ArgumentValueError),
        ((0, 0), ArgumentValueError),
        ((0, 24), ArgumentValueError),
        ((0.0, 2), ArgumentTypeError),
        ((0, "2"), ArgumentTypeError),
        ((True, 2), ArgumentTypeError),
    ],
)
def test_there_is_no_such_shard(dataset, arguments, error):
    with pytest.raises(error, match="shard"):
        dataset.shard(*arguments)


def test_it_tells_which_it_is(dataset):
    assert repr(dataset.shard(1, 2)) == "<Dataset of 12 items, Rows, shard 1 of 2>"
