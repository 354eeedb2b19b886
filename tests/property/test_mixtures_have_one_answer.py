"""Whatever is mixed: one answer at every prefetch, from every epoch, by replay, and in shards."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArrayBatch, B, Dataset, Shuffle, action


class Rows(ArrayBatch):
    components = "x", "of"

    @action
    def noisy(self):
        self.x = self.x + self.rng.random(len(self))
        return self


class Source:
    """Rows by position, each at most once in a read, in blocks."""

    def __init__(self, n, of, blocks):
        self.n, self.of, self.blocks = n, of, blocks

    def __len__(self):
        return self.n

    def read(self, positions):
        assert len(set(positions.tolist())) == len(positions)
        return {"x": positions * 10, "of": np.full(len(positions), self.of)}


@st.composite
def parts(draw, of):
    n = draw(st.integers(1, 30))
    are_equal = draw(st.booleans())
    blocks = draw(st.integers(1, 9)) if are_equal else np.arange(0, n, 3)[: 1 + n // 4]
    part = Dataset(n, Rows, source=Source(n, of, blocks))
    return (
        part.take(np.random.default_rng(n).permutation(n)[: (n + 1) // 2]) if n % 3 == 0 else part
    )


@st.composite
def mixtures(draw):
    datasets = [draw(parts(of)) for of in range(draw(st.integers(2, 4)))]
    weights = [draw(st.integers(1, 9)) for _ in datasets]
    n = draw(st.one_of(st.none(), st.integers(1, 90)))
    mixed = Dataset.mix(datasets, weights, n, draw(st.sampled_from(["shortest", "longest"])))
    shuffle = draw(
        st.one_of(
            st.sampled_from([False, True, 0, 5]),
            st.builds(Shuffle, st.sampled_from(["source", 1, 4]), st.integers(1, 4)),
        )
    )
    return mixed, shuffle, draw(st.integers(1, 12)), draw(st.integers(0, 9))


def items(batch):
    found = [*zip(batch.of.tolist(), (batch.x // 10).tolist(), strict=True)]
    ids = batch.source_ids.tolist()
    assert ids == (found if isinstance(ids[0], tuple) else [item for _, item in found])
    return found


def read(dataset, size, **options):
    return [items(batch) for batch in dataset.gen_batch(size, **options)]


@settings(max_examples=300, deadline=None)
@given(mixtures(), st.integers(0, 10**6))
def test_a_mixture_has_one_answer(case, number):
    mixed, shuffle, size, seed = case
    options = {"shuffle": shuffle, "seed": seed}
    whole = read(mixed, size, n_epochs=2, **options)
    half = len(whole) // 2
    first = sorted(item for batch in whole[:half] for item in batch)
    assert len(first) == len(mixed)
    assert read(mixed, size, first_epoch=1, **options) == whole[half:]
    number %= len(whole)
    assert items(mixed.p.replay(number, batch_size=size, **options)) == whole[number]
    count = 1 + number % 3
    if len(mixed) >= count:
        shards = [read(mixed.shard(k, count), size, **options) for k in range(count)]
        assert sorted(item for shard in shards for batch in shard for item in batch) == first
    if number % 8 == 0:
        assert read(mixed, size, n_epochs=2, prefetch=3, **options) == whole
    if number % 8 == 1:
        feed = mixed.p.feed(size, (B.of, B.x // 10), **options)
        fed = [[*zip(*(v.tolist() for v in values[0]), strict=True)] for values in feed]
        assert fed == whole[:half]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_epoch_has_its_shares_and_no_item_too_often(data):
    sizes = data.draw(st.lists(st.integers(1, 200), min_size=2, max_size=5))
    weights = np.array([data.draw(st.floats(0.05, 1)) for _ in sizes])
    stop = data.draw(st.sampled_from(["shortest", "longest"]))
    datasets = [Dataset(n, Rows, source=Source(n, of, 4)) for of, n in enumerate(sizes)]
    mixed = Dataset.mix(datasets, weights, stop=stop)
    (found,) = read(mixed, len(mixed), shuffle=1)
    seen, shown = Counter(found), Counter(of for of, _ in found)
    for of, n in enumerate(sizes):
        assert abs(shown[of] - len(mixed) * weights[of] / weights.sum()) < len(sizes)
        rounds, rest = divmod(shown[of], n)  # used up before it begins again
        assert Counter(seen[of, item] for item in range(n)) == +Counter(
            {rounds + 1: rest, rounds: n - rest}
        )
    is_whole = [shown[of] >= n for of, n in enumerate(sizes)]
    assert any(is_whole) if stop == "shortest" else all(is_whole)
    assert stop == "longest" or max(seen.values()) == 1


@pytest.mark.parametrize("shuffle", [False, 3])
def test_a_mixture_has_one_answer_in_worker_processes(shuffle):
    datasets = [Dataset(n, Rows, source=Source(n, of, 4)) for of, n in enumerate((50, 7, 20))]
    pipeline = Dataset.mix(datasets, [5, 2, 1], stop="longest").p.noisy()
    here, there = (
        [
            (b.x.tolist(), b.source_ids.tolist())
            for b in pipeline.gen_batch(8, shuffle=shuffle, seed=1, **o)
        ]
        for o in ({}, {"executor": "processes", "prefetch": 2})
    )
    assert here == there
