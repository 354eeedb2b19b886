"""Steps that make several items of one, mixed and put into other batches: one answer."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArrayBatch, Batch, Dataset, Pipeline, Shuffle, action


class Parts(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.y = self.y + self.rng.random(len(self))
        return self


class Wholes(ArrayBatch):
    components = "x", "y"

    @action(expands=2)
    def twice(self):
        return self.repeat(2)

    @action(expands=True)
    def some(self):
        return self.repeat(self.rng.integers(0, 3, len(self)))

    @action(expands=3, gives=Parts)
    def parts(self):
        return self.repeat(3, Parts)


STEPS = {
    "twice": Pipeline().twice(),
    "some": Pipeline().some(),
    "mix_rows": Pipeline().mix_rows(2),
    "rebatch": Pipeline().rebatch(5),
    "filter": Pipeline().filter(lambda item: item.x % 3 > 0),
}
AT_THE_END = {"parts": Pipeline().parts().noise().mix_rows(3), "none": Pipeline()}


@st.composite
def cases(draw):
    chain = Pipeline()
    for name in draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4)):
        chain = chain + STEPS[name]
    chain = chain + AT_THE_END[draw(st.sampled_from(sorted(AT_THE_END)))]
    n = draw(st.integers(1, 30))
    dataset = Dataset.from_arrays(Wholes, x=np.arange(n), y=np.zeros(n))
    order = draw(st.sampled_from([False, True, Shuffle(block=3, window=2)]))
    options = {"shuffle": order, "seed": draw(st.integers(0, 9))}
    return dataset, chain, draw(st.integers(1, 9)), options


def read(pipeline, size, **options):
    for batch in pipeline.gen_batch(size, **options):
        assert batch.x.tolist() == batch.source_ids.tolist()
        yield batch.number, batch.epoch, batch.x.tolist(), batch.y.tolist(), batch.source_numbers


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(0, 10**6))
def test_a_chain_with_expanding_steps_has_one_answer(case, number):
    dataset, chain, size, options = case
    pipeline = dataset >> chain
    whole = list(read(pipeline, size, n_epochs=2, **options))
    assert list(read(pipeline, size, first_epoch=1, **options)) == [b for b in whole if b[1] == 1]
    again = pipeline.replay(number % 4, batch_size=size, **options)  # of the source batches
    assert again is None or again.source_numbers == (number % 4,)
    if number % 4 == 0:
        assert list(read(pipeline, size, n_epochs=2, prefetch=3, **options)) == whole
    if len(dataset) >= 2 and "some" not in repr(chain):
        shards = [dataset.shard(k, 2) >> chain for k in (0, 1)]
        parts = [x for shard in shards for b in read(shard, size, **options) for x in b[2]]
        assert sorted(parts) == sorted(x for b in whole if b[1] == 0 for x in b[2])


class Texts(Batch):
    components = "tokens", "numbers", "segments", "places"


PIECES = {
    "mix_rows": lambda k: Pipeline().mix_rows(k),
    "rebatch": lambda k: Pipeline().rebatch(k),
    "filter": lambda k: Pipeline().filter(lambda text: len(text.tokens) != k),
}


@st.composite
def packings(draw):
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=20))
    tokens = np.empty(len(lengths), dtype=object)
    for i, length in enumerate(lengths):
        tokens[i] = list(range(10 * i + 1, 10 * i + 1 + length))
    chain = Pipeline()
    for name in draw(st.lists(st.sampled_from(sorted(PIECES)), max_size=2)):
        chain = chain + PIECES[name](draw(st.integers(1, 5)))
    row, n_rows = draw(st.integers(1, 12)), draw(st.sampled_from([None, 1, 2, 5]))
    packed = chain.pack(
        row, "tokens", batch_size=n_rows, segment="segments", position="places", long="split"
    )
    dataset = Dataset.from_arrays(Texts, tokens=tokens, numbers=np.arange(len(lengths)))
    behind = Pipeline().mix_rows(2) if draw(st.booleans()) else Pipeline()
    options = {"shuffle": draw(st.sampled_from([False, True, Shuffle(block=3, window=2)]))}
    return dataset >> chain, dataset >> packed + behind, draw(st.integers(1, 7)), options, row


def read_rows(pipeline, size, **options):
    for batch in pipeline.gen_batch(size, seed=4, **options):
        texts = [
            [row[of_row == k].tolist() for k in range(1, of_row.max(initial=0) + 1)]
            for row, of_row in zip(batch.tokens, batch.segments, strict=True)
        ]
        assert batch.tokens.dtype == np.int64
        assert not batch.tokens[batch.segments == 0].any()
        assert (batch.places[batch.segments == 1] < batch.tokens.shape[1]).all()
        yield batch.epoch, batch.tokens.tolist(), batch.source_ids.tolist(), texts


@settings(max_examples=300, deadline=None)
@given(packings(), st.integers(0, 3))
def test_packed_rows_have_one_answer_and_every_element_once(case, prefetch):
    texts, packed, size, options, row = case
    whole = list(read_rows(packed, size, n_epochs=2, prefetch=prefetch, **options))
    assert list(read_rows(packed, size, first_epoch=1, **options)) == [b for b in whole if b[0]]
    for epoch in (0, 1):
        batches = texts.gen_batch(size, n_epochs=2, seed=4, **options)
        expected = [x for b in batches if b.epoch == epoch for text in b.tokens for x in text]
        rows = [r for number, _, _, of_batch in whole if number == epoch for r in of_batch]
        assert sorted(x for r in rows for text in r for x in text) == sorted(expected)
        assert all(sum(map(len, r)) <= row for r in rows)
        for text in (text for r in rows for text in r if text):
            assert text == list(range(text[0], text[0] + len(text)))  # of one item, in its order
    for _, _, ids, of_batch in whole:
        for of_row, r in zip(ids, of_batch, strict=True):
            assert all((x - 1) // 10 in of_row for text in r for x in text)
