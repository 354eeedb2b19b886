"""`dataset.shard(k, n)`, attacked: shares of one epoch are disjoint, together they have all."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArgumentValueError, ArrayBatch, Batch, Dataset, action
from batchflow.testing import digest


class Rows(ArrayBatch):
    components = "rows"

    @action
    def add_noise(self):
        self.noise = self.rng.random()
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, rows=np.arange(23))


def ids_of(run):
    return [item for batch in run for item in batch.rows.tolist()]


# ---- one order, or a refusal


@pytest.mark.parametrize("options", ["shuffle", "seed"])
def test_a_generator_gives_all_shares_one_order_or_is_refused(dataset, options):
    """It gives another number to each run, as no seed does, which is refused."""
    rng = np.random.default_rng(1)
    given = {"shuffle": rng} if options == "shuffle" else {"shuffle": True, "seed": rng}
    try:
        shares = [ids_of(dataset.shard(k, 2).gen_batch(2, **given)) for k in range(2)]
    except ArgumentValueError:
        return
    assert sorted(shares[0] + shares[1]) == list(range(23))


@pytest.mark.parametrize("word", ["concat", "merge"])
def test_shares_that_meet_in_one_pipeline_are_of_one_order_or_are_refused(dataset, word):
    first, second = dataset.shard(0, 2), dataset.shard(1, 2)
    try:
        ids = ids_of(getattr(first.p, word)(second).gen_batch(4, shuffle=True, seed=1))
    except ArgumentValueError:
        return
    assert len(ids) == len(set(ids))


# ---- what holds


@settings(max_examples=100, deadline=None)
@given(
    n_items=st.integers(1, 120),
    count=st.integers(1, 12),
    batch_size=st.integers(1, 9),
    shuffle=st.sampled_from([False, True, 5, lambda places: places[::-1]]),
    seed=st.integers(0, 2**64),
    drop_last=st.booleans(),
    equal=st.booleans(),
    prefetch=st.sampled_from([0, 3]),
)
def test_any_shares_are_disjoint_and_complete(
    n_items, count, batch_size, shuffle, seed, drop_last, equal, prefetch
):
    count = min(count, n_items)
    dataset = Dataset.from_arrays(Rows, [f"i{k}" for k in range(n_items)], rows=np.arange(n_items))
    epochs = [[], []]
    for k in range(count):
        share = dataset.shard(k, count, equal=equal)
        size = min(batch_size, len(share))
        options = {"shuffle": shuffle, "seed": seed, "drop_last": drop_last, "n_epochs": 2}
        for batch in share.p.gen_batch(size, prefetch=prefetch, **options):
            assert batch.indices.tolist() == [f"i{row}" for row in batch.rows]
            epochs[batch.epoch] += batch.rows.tolist()
    for ids in epochs:
        assert len(ids) == len(set(ids))
        if not drop_last:
            assert len(ids) == (n_items // count * count if equal else n_items)


def test_a_share_of_a_subclass_is_of_that_subclass_and_travels():
    class Labelled(Dataset):
        def __init__(self, index, label):
            super().__init__(index, Batch)
            self.label = label

    share = Labelled(10, "left").shard(1, 3)
    assert (type(share), share.label, len(share)) == (Labelled, "left", 3)
    again = pickle.loads(pickle.dumps(Dataset(10).shard(1, 3, equal=True)))
    assert again.shard_spec == Dataset(10).shard(1, 3, equal=True).shard_spec


def test_a_share_is_the_same_from_worker_processes(dataset):
    p = dataset.shard(1, 2).p.add_noise()
    options = {"batch_size": 5, "shuffle": True, "seed": 3, "n_epochs": 2}
    here = [digest(batch.rows, batch.noise) for batch in p.gen_batch(**options)]
    far = p.gen_batch(**options, executor="processes", n_workers=1)
    assert [digest(batch.rows, batch.noise) for batch in far] == here


def test_one_of_very_many_shares_of_a_very_large_dataset_runs():
    share = Dataset(10**12).shard(10**11, 10**12)
    (batch,) = share.gen_batch(1, shuffle=True, seed=2**64 - 1)
    assert 0 <= batch.rng.random() < 1
