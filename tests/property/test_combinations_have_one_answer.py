"""Orders, mixtures, windows and expanding steps put together at random: one answer."""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import (
    ArrayBatch,
    Balanced,
    Bucketed,
    Dataset,
    Pipeline,
    Shuffle,
    Weighted,
    action,
)

SIZE = 2  # of a window


class Pieces(ArrayBatch):
    components = "x", "of", "noise"

    @action
    def jitter(self):
        self.noise = self.rng.random(len(self))
        return self


class Rows(ArrayBatch):
    """Rows of `SIZE` numbers, which tell the window or the row that they are, and whose."""

    components = "x", "of", "noise"

    @action
    def jitter(self):
        self.noise = self.rng.random(len(self))
        return self

    @action(expands=2)
    def twice(self):
        return self.repeat(2)

    @action(expands=True)
    def some(self):
        return self.repeat(self.rng.integers(0, 3, len(self)))

    @action(expands=3, gives=Pieces)
    def pieces(self):
        return self.repeat(3, Pieces)


@st.composite
def parts(draw, of):
    n = draw(st.integers(4, 12))
    if draw(st.booleans()):
        x = np.arange(SIZE * n).reshape(n, SIZE) + 1000 * of
        dataset = Dataset.from_arrays(Rows, x=x, of=np.full(n, of))
        return dataset.take(np.random.default_rng(n).permutation(n)[: n - draw(st.integers(0, 2))])
    lengths = np.random.default_rng(draw(st.integers(0, 9))).integers(SIZE, 6, n // 2)
    records = np.empty(len(lengths), object)
    starts = np.cumsum(lengths) - lengths
    records[:] = [np.arange(k) + s + 1000 * of for s, k in zip(starts, lengths, strict=True)]
    dataset = Dataset.from_arrays(Rows, x=records, of=np.full(len(lengths), of))
    return dataset.windows("x", SIZE, draw(st.integers(1, 2)))


@st.composite
def datasets(draw):
    first = draw(parts(0))
    if draw(st.booleans()):
        return first, ORDERS
    weights = draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    n = draw(st.sampled_from([None, 15]))
    stop = draw(st.sampled_from(["shortest", "longest"]))
    return Dataset.mix([first, draw(parts(1))], weights, n, stop), ORDERS[:3]


ORDERS = [
    lambda numbers: False,
    lambda numbers: True,
    lambda numbers: Shuffle(3, window=2),
    lambda numbers: Weighted(numbers % 4),
    lambda numbers: Weighted(numbers % 4 + 1, n=len(numbers) - 1, replacement=False),
    lambda numbers: Balanced(numbers % 2),
    lambda numbers: Bucketed(numbers % 5, window=5),
    lambda numbers: lambda positions, rng, epoch: np.roll(rng.permutation(positions), epoch),
]
BEHIND = {
    "twice": Pipeline().twice(),
    "some": Pipeline().some(),
    "mix_rows": Pipeline().mix_rows(2),
    "rebatch": Pipeline().rebatch(3),
    "filter": Pipeline().filter(lambda item: item.x[0] % 3 > 0),
    "jitter": Pipeline().jitter(),
}


@st.composite
def cases(draw):
    dataset, orders = draw(datasets())
    numbers = np.arange(len(dataset.index)) + draw(st.integers(1, 9))
    chain = Pipeline()
    for name in draw(st.lists(st.sampled_from(sorted(BEHIND)), max_size=2)):
        chain = chain + BEHIND[name]
    if draw(st.booleans()):
        chain = chain + Pipeline().pieces().jitter()
    options = {"shuffle": draw(st.sampled_from(orders))(numbers), "seed": draw(st.integers(0, 9))}
    return dataset, chain.jitter(), draw(st.integers(2, 8)), options


def facts(batch):
    names = "x", "of", "noise", "source_ids"
    return batch.number, batch.epoch, *(getattr(batch, name).tolist() for name in names)


def read(pipeline, size, **options):
    return [facts(batch) for batch in pipeline.gen_batch(size, **options)]


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(0, 10**6))
def test_any_combination_has_one_answer(case, number):
    dataset, chain, size, options = case
    pipeline = dataset >> chain
    whole = read(pipeline, size, n_epochs=2, **options)
    if number % 3 == 0:
        assert read(pipeline, size, n_epochs=2, prefetch=3, **options) == whole
    assert read(pipeline, size, first_epoch=1, **options) == [b for b in whole if b[1] == 1]
    raw = read(dataset.p.jitter(), size, **options)
    way, number = number % 3, number % len(raw)
    assert facts(dataset.p.jitter().replay(number, size, **options)) == raw[number]
    again = pipeline.replay(number, size, **options)
    assert again is None or again.source_numbers == (number,)
    if way != 1:
        return
    run = pipeline.gen_batch(size, n_epochs=2, **options)
    for _ in range(number % (len(whole) + 1)):
        next(run)
    assert read(pipeline, size, n_epochs=2, state=run.state_dict(), **options) == [
        facts(batch) for batch in run
    ]


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(2, 3))
def test_shards_of_any_combination_are_disjoint_and_complete(case, count):
    dataset, _, size, options = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = sorted(str(item) for b in read_ids(dataset, size, options) for item in b)
    if len(whole) < count:
        return
    shards = [dataset.shard(k, count) for k in range(count)]
    items = [str(item) for part in shards for b in read_ids(part, size, options) for item in b]
    assert sorted(items) == whole
    n_different = len(set(whole))
    if n_different == len(whole) and not isinstance(options["shuffle"], Weighted):
        assert n_different == len(dataset)


def read_ids(dataset, size, options):
    for batch in dataset.gen_batch(size, **options):
        items = zip(batch.of.tolist(), batch.x.tolist(), batch.source_ids.tolist(), strict=True)
        yield list(items)
