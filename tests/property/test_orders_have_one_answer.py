"""Whatever the order: one answer at every prefetch, from every epoch, by replay, and in shards."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArrayBatch, Balanced, Bucketed, Dataset, Shuffle, Weighted


class Rows(ArrayBatch):
    components = "x", "y"


class Source:
    """Rows by position, each at most once in a read, in blocks."""

    def __init__(self, n, blocks):
        self.n, self.blocks = n, blocks

    def __len__(self):
        return self.n

    def read(self, positions):
        assert len(set(positions.tolist())) == len(positions)
        return {"x": positions * 10, "y": positions % 3}


@st.composite
def cases(draw):
    n = draw(st.integers(3, 60))
    numbers = np.random.default_rng(draw(st.integers(0, 99))).integers(1, 9, n)
    small = st.integers(1, 9)
    order = draw(
        st.one_of(
            st.builds(Shuffle, st.one_of(st.just("source"), small), small),
            st.builds(Weighted, st.just(numbers), st.one_of(st.none(), st.integers(1, 90))),
            st.builds(Weighted, st.just(numbers), st.integers(1, n), st.just(False)),
            st.just(Balanced(np.arange(n) % draw(st.integers(2, 3)))),
            st.builds(Bucketed, st.just(numbers), small),
        )
    )
    dataset = Dataset(n, Rows, source=Source(n, draw(small)))
    if draw(st.booleans()) and isinstance(order, Shuffle):
        dataset = dataset.take(np.random.default_rng(n).permutation(n)[: (n + 1) // 2])
    return dataset, order, draw(st.integers(1, 12)), draw(st.integers(0, 9))


def read(dataset, size, **options):
    for batch in dataset.gen_batch(size, **options):
        assert batch.x.tolist() == (batch.source_ids * 10).tolist()
        yield batch.source_ids.tolist()


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(0, 10**6))
def test_an_order_has_one_answer(case, number):
    dataset, order, size, seed = case
    options = {"shuffle": order, "seed": seed}
    whole = list(read(dataset, size, n_epochs=2, **options))
    half = len(whole) // 2
    assert list(read(dataset, size, first_epoch=1, **options)) == whole[half:]
    number %= len(whole)
    again = dataset.p.replay(number, batch_size=size, **options)
    assert again.source_ids.tolist() == whole[number]
    first = sorted(item for batch in whole[:half] for item in batch)
    count = 1 + number % 3
    if len(first) >= count and len(dataset) >= count:
        shards = [dataset.shard(k, count) for k in range(count)]
        parts = [item for part in shards for ids in read(part, size, **options) for item in ids]
        assert sorted(parts) == first
    if len(first) == len(dataset) and len(set(first)) == len(first):
        assert first == sorted(dataset.indices.tolist())
    if number % 8 == 0:
        assert list(read(dataset, size, n_epochs=2, prefetch=3, **options)) == whole
