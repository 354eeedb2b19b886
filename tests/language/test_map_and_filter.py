"""`map` and `filter`: over items and over batches."""

import threading

import numpy as np
import pytest

from batchflow import (
    ArrayBatch,
    B,
    Batch,
    Dataset,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    V,
    action,
)
from batchflow.testing import nothing_left

from . import regrouping
from .regrouping import each_prefetch, ids


class Rows(regrouping.Rows):
    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("n", self.pipeline.v("n") + len(self))
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(10.0), y=np.arange(10))


@pytest.fixture
def plain():
    return Dataset.from_arrays(ArrayBatch, data=np.arange(10.0))


def xs(pipeline, batch_size=10, **options):
    return [x for b in pipeline.gen_batch(batch_size, **options) for x in b.x.tolist()]


# ---- map


@each_prefetch
def test_map_puts_every_item_of_a_component_through(dataset, prefetch):
    pipeline = dataset.p.map(lambda x: x * 2, src="x")
    assert xs(pipeline, 4, prefetch=prefetch) == [2.0 * i for i in range(10)]


def test_map_leaves_the_other_components_alone(dataset):
    assert next(dataset.p.map(np.negative, src="x").gen_batch(4)).y.tolist() == [0, 1, 2, 3]


def test_map_stores_elsewhere_with_dst(dataset):
    batch = next(dataset.p.map(np.negative, src="x", dst="y").gen_batch(3))
    assert (batch.x.tolist(), batch.y.tolist()) == ([0.0, 1, 2], [0.0, -1, -2])


def test_map_over_a_batch_without_components_gets_its_data(plain):
    batch = next(plain.p.map(lambda item: item + 1).gen_batch(3))
    assert batch.data.tolist() == [1.0, 2, 3]


def test_map_with_two_components_gives_the_function_two_arguments(dataset):
    pipeline = dataset.p.map(lambda x, y: x + 10 * y, src=("x", "y"), dst="x")
    assert xs(pipeline) == [11.0 * i for i in range(10)]


def test_map_over_lists():
    class Words(Batch):
        components = "words"

        @action
        def fill(self):
            self.words = ["a", "b", "c"]
            return self

    batch = next(Dataset(3, Words).p.fill().map(str.upper, src="words").gen_batch(3))
    assert list(batch.words) == ["A", "B", "C"]


@each_prefetch
def test_map_over_batches_gets_the_batch(dataset, prefetch):
    def double(batch):
        batch.x = batch.x * 2
        return batch

    pipeline = dataset.p.map(double, over="batches")
    assert xs(pipeline, 4, prefetch=prefetch) == [2.0 * i for i in range(10)]


@each_prefetch
def test_map_over_batches_may_give_another_batch(dataset, prefetch):
    pipeline = dataset.p.map(lambda batch: batch[batch.indices[::2].copy()], over="batches")
    seen = [
        (b.number, b.indices.tolist()) for b in pipeline.noise().gen_batch(4, prefetch=prefetch)
    ]
    assert seen == [(0, [0, 2]), (1, [4, 6]), (2, [8])]


@pytest.mark.parametrize("what", [None, 5, []], ids=repr)
def test_map_over_batches_that_gives_no_batch_is_named(dataset, what):
    with pytest.raises(TypeError, match=r"'map' must return a batch, and returned"):
        dataset.p.map(lambda batch: what, over="batches").run(4)


@each_prefetch
def test_a_function_of_map_that_draws_from_the_batch_has_one_answer(dataset, prefetch):
    def noisy(batch):
        batch.x = batch.x + batch.rng.normal(size=len(batch))
        return batch

    pipeline = dataset.p.map(noisy, over="batches").noise()
    assert xs(pipeline, 3, seed=1, prefetch=prefetch) == xs(pipeline, 3, seed=1)


@each_prefetch
@pytest.mark.parametrize("over", ["items", "batches"])
@pytest.mark.parametrize("word", ["map", "filter"])
def test_an_error_in_the_function_says_where(dataset, prefetch, over, word):
    def failing(*args):
        raise OSError("no disk")

    with nothing_left(), pytest.raises(OSError, match="no disk") as caught:
        getattr(dataset.p, word)(failing, over=over).run(4, prefetch=prefetch, seed=1)
    notes = "\n".join(caught.value.__notes__)
    assert f"in the action {word!r}, chained at {__file__}" in notes
    assert "batch 0, epoch 0, 4 items with the ids [0, 1, 2, 3]" in notes
    assert "pipeline.replay(0, batch_size=4, seed=1)" in notes


@each_prefetch
@pytest.mark.parametrize("word", ["map", "filter"])
@pytest.mark.parametrize("over", ["items", "batches"])
def test_a_skip_in_the_function_skips_the_batch(dataset, prefetch, word, over):
    def skipping(what, *rest):
        if (what.number == 1) if over == "batches" else (what.x if word == "filter" else what) == 5:
            raise SkipBatch
        return what

    options = {"src": "x"} if (word, over) == ("map", "items") else {}
    pipeline = getattr(dataset.p, word)(skipping, over=over, **options)
    numbers = [b.number for b in pipeline.gen_batch(4, prefetch=prefetch)]
    assert numbers == [0, 2]


@each_prefetch
@pytest.mark.parametrize("word", ["map", "filter"])
def test_a_stop_in_the_function_ends_the_run(dataset, prefetch, word):
    def stopping(batch):
        if batch.number == 1:
            raise StopPipeline
        return batch

    pipeline = getattr(dataset.p, word)(stopping, over="batches")
    assert [b.number for b in pipeline.gen_batch(4, prefetch=prefetch)] == [0]


# ---- filter


@each_prefetch
def test_filter_keeps_items_by_a_late_value(dataset, prefetch):
    assert ids(dataset.p.filter(B.y % 2 == 1), prefetch=prefetch) == [[1, 3], [5, 7], [9]]


@each_prefetch
def test_filter_keeps_items_by_a_function_of_the_item(dataset, prefetch):
    pipeline = dataset.p.filter(lambda item: item.x + item.y > 7)
    assert ids(pipeline, prefetch=prefetch) == [[4, 5, 6, 7], [8, 9]]


def test_filter_without_components_gets_the_data_of_the_item(plain):
    assert ids(plain.p.filter(lambda value: value > 7)) == [[8, 9]]


def test_filter_keeps_all_data_of_the_items(dataset):
    batch = next(dataset.p.filter(B.y > 1).gen_batch(4))
    assert (batch.x.tolist(), batch.y.tolist()) == ([2.0, 3.0], [2, 3])


def test_filter_by_a_list_of_bools(dataset):
    assert ids(dataset.p.filter([True, False]), 2) == [[0], [2], [4], [6], [8]]


@each_prefetch
def test_a_batch_of_which_nothing_is_kept_is_skipped_and_keeps_its_number(dataset, prefetch):
    run = dataset.p.filter(B.y > 7).gen_batch(4, n_epochs=2, prefetch=prefetch)
    assert [(b.number, b.epoch) for b in run] == [(2, 0), (5, 1)]


@each_prefetch
def test_filter_over_batches(dataset, prefetch):
    pipeline = dataset.p.filter(lambda batch: batch.x.sum() > 10, over="batches")
    assert ids(pipeline, prefetch=prefetch) == [[4, 5, 6, 7], [8, 9]]


def test_filter_over_batches_by_a_late_value(dataset):
    assert ids(dataset.p.filter(B.number == 1, over="batches")) == [[4, 5, 6, 7]]


@each_prefetch
def test_what_is_kept_has_number_epoch_and_randomness_of_the_batch(dataset, prefetch):
    everything = {b.number: b.rng.random() for b in dataset.p.gen_batch(4, seed=1, n_epochs=2)}
    run = dataset.p.filter(B.y % 2 == 0).gen_batch(4, seed=1, n_epochs=2, prefetch=prefetch)
    assert {b.number: b.rng.random() for b in run} == everything


@each_prefetch
def test_filter_by_chance_has_one_answer(dataset, prefetch):
    pipeline = dataset.p.noise().filter(R.random(size=len(dataset)) > 0.5).noise()
    expected = xs(pipeline, 10, seed=3, n_epochs=3, executor="serial")
    assert 0 < len(expected) < 30
    assert xs(pipeline, 10, seed=3, n_epochs=3, prefetch=prefetch) == expected


def test_filter_keeps_source_ids(dataset):
    pipeline = dataset.p.merge(dataset).filter(B.y == 3)
    batch = next(pipeline.gen_batch(10))
    assert (batch.indices.tolist(), batch.source_ids.tolist()) == ([3, 13], [3, 3])


@each_prefetch
def test_filter_behind_a_rebatch_keeps_the_border_of_the_epoch(dataset, prefetch):
    pipeline = dataset.p.rebatch(5).filter(B.y < 4).rebatch(3)
    assert ids(pipeline, n_epochs=2, prefetch=prefetch) == [[0, 1, 2], [3]] * 2


@each_prefetch
def test_filter_that_keeps_a_part_of_the_last_batch_keeps_the_border_of_the_epoch(
    dataset, prefetch
):
    pipeline = dataset.p.filter(B.y < 9).rebatch(6)
    assert ids(pipeline, n_epochs=2, prefetch=prefetch) == [[*range(6)], [6, 7, 8]] * 2


@each_prefetch
def test_filter_in_the_section(dataset, prefetch):
    pipeline = dataset.p.init_variable("n", 0).count().filter(B.y > 5).count()
    for batch in pipeline.gen_batch(4, prefetch=prefetch):
        assert pipeline.v("n") == {1: 4 + 4 + 2, 2: 10 + 2 + 2}[batch.number]


def test_an_attribute_that_would_be_lost_is_refused_by_name_and_place(dataset):
    with pytest.raises(ValueError, match=r"attribute 'memory'.*would lose it") as caught:
        dataset.p.remember().filter(B.y > 1).run(4)
    assert "in the action 'filter', chained at" in "\n".join(caught.value.__notes__)


def test_a_predicate_that_reads_what_a_step_writes_is_ordered(dataset):
    pipeline = dataset.p.init_variable("n", 0).filter(B.y >= V("n")).update(V("n"), V("n") + 1)
    assert "ordered section" in repr(pipeline).splitlines()[1]
    assert sum(map(len, ids(pipeline, 1, n_epochs=1))) == 10


def test_many_predicates_run_at_once(dataset):
    meet = threading.Barrier(3)

    def together(batch):
        meet.wait(10)
        return True

    assert len(ids(dataset.p.filter(together, over="batches"), 4, prefetch=3)) == 3


# ---- chaining and arguments


@pytest.mark.parametrize("wrong", [5, None, "x", [True] * 3], ids=repr)
def test_a_predicate_that_is_none_is_refused(dataset, wrong):
    with pytest.raises(ValueError, match=r"expected a function of an item, or one bool for each"):
        dataset.p.filter(wrong).run(4)


def test_numbers_are_no_bools(dataset):
    with pytest.raises(ValueError, match="got int64 of shape"):
        dataset.p.filter(B.y).run(4)


@pytest.mark.parametrize("word", ["map", "filter"])
def test_something_else_than_items_and_batches_is_refused(dataset, word):
    with pytest.raises(ValueError, match='over is "items" or "batches", got'):
        getattr(dataset.p, word)(len, over="rows").run(4)


def test_map_without_a_function_is_refused_when_chained(dataset):
    with pytest.raises(TypeError, match="missing a required argument: 'function'"):
        dataset.p.map()


def test_map_refuses_what_is_no_function(dataset):
    with pytest.raises(TypeError, match="the first argument is a function, got 5"):
        dataset.p.map(5).run(4)


def test_map_over_batches_takes_no_components(dataset):
    with pytest.raises(TypeError, match='src and dst go with over="items"'):
        dataset.p.map(len, src="x", over="batches").run(4)


def test_filter_over_batches_takes_no_components(dataset):
    with pytest.raises(TypeError, match='src goes with over="items"'):
        dataset.p.filter(len, src="x", over="batches").run(4)


def test_filter_by_a_component_gets_its_elements(dataset):
    assert ids(dataset.p.filter(lambda x: x > 5, src="x")) == [[6, 7], [8, 9]]


def test_an_unknown_component_is_refused_by_name(dataset):
    with pytest.raises(KeyError, match=r"no component 'z'"):
        dataset.p.map(len, src="z").run(4)


@pytest.mark.parametrize("word", ["map", "filter"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_there_is_nothing_to_do_before_and_after_the_batches(dataset, word, moment):
    with pytest.raises(TypeError, match=f"needs a batch, and .{moment} has none"):
        getattr(getattr(dataset.p, moment), word)(len)


def test_map_gives_no_value_to_store(dataset):
    with pytest.raises(TypeError, match="no value to store"):
        dataset.p.map(np.sqrt, src="x", save_to=B.z).run(4)


@each_prefetch
def test_a_chance_of_a_filter(dataset, prefetch):
    pipeline = dataset.p + Pipeline().filter(B.y % 2 == 0) @ 0.5
    expected = ids(pipeline, 2, seed=1)
    assert {len(items) for items in expected} == {1, 2}
    assert ids(pipeline, 2, seed=1, prefetch=prefetch) == expected


def test_pieces_are_values():
    even = B.y % 2 == 0
    a, b, c = Pipeline().map(np.sqrt, src="x"), Pipeline().filter(even), Pipeline().noise()
    assert (a + b) + c == a + (b + c)
    assert (a + b) * 2 == a + b + a + b
    assert Pipeline().filter(B.y > 1) != Pipeline().filter(B.y > 2)


@pytest.mark.parametrize("word", ["map", "filter"])
def test_an_action_of_that_name_takes_the_place_of_the_step(word):
    def own(self, value):
        self.x = self.x * 0 + value
        return self

    own.__name__ = word
    cls = type("Own", (Rows,), {word: action(own)})
    data = Dataset.from_arrays(cls, x=np.arange(3.0), y=np.arange(3))
    assert xs(getattr(data.p, word)(7), 3) == [7.0] * 3
    assert xs(data >> getattr(Pipeline(), word)(7), 3) == [7.0] * 3
