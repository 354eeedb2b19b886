"""Steps that make several items of one, mixed and put into other batches: one answer."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArrayBatch, Dataset, Pipeline, Shuffle, action


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


@settings(max_examples=300)
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
