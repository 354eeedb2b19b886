"""A feed: tuples of values instead of batches, and its batches by index, as Keras reads them."""

import threading
import time

import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    F,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    UnknownAttributeError,
    UnknownNameError,
    V,
    action,
)
from batchflow.interop.indexed import IndexedFeed
from batchflow.testing import digest, nothing_left

pytestmark = pytest.mark.usefixtures("most_interleavings")

each_prefetch = pytest.mark.parametrize("prefetch", [0, 4])


class Rows(ArrayBatch):
    components = "images", "labels"

    @action
    def noise(self):
        self.images = self.images + self.rng.normal(size=self.images.shape)
        return self

    @action
    def fail(self, at, error):
        if self.number == at:
            raise error
        return self

    @action(singleton=True)
    def in_order(self):
        return self

    @action
    async def later(self):
        return self


DATASET = Dataset.from_arrays(Rows, images=np.arange(20.0).reshape(10, 2), labels=np.arange(10))
NOISY = DATASET.p.noise()


def indexed(pipeline=NOISY, batch_size=3, x=B.images, y=B.labels, **options):
    feed = pipeline.feed(batch_size, x, y, **options)
    return IndexedFeed(feed._program, feed._options)


def digests(values):
    return [digest(*value) for value in values]


def epoch_of(reader, order=None):
    reader.begin_epoch()
    return digests(reader.read(i) for i in order or range(len(reader)))


# ---- iterating


@each_prefetch
def test_a_feed_gives_what_the_batches_hold(prefetch):
    options = {"shuffle": True, "seed": 3, "n_epochs": 2, "prefetch": prefetch}
    batches = NOISY.gen_batch(3, shuffle=True, seed=3, n_epochs=2)
    expected = digests((batch.images, batch.labels) for batch in batches)
    feed = NOISY.feed(3, y=B.labels, **options)
    assert digests(feed) == expected
    feed.epoch = 0
    assert digests(feed) == expected
    assert len(feed) == len(expected) == 8


@each_prefetch
def test_a_loop_for_each_epoch_gives_what_one_long_run_gives(prefetch):
    options = {"shuffle": True, "seed": 3, "prefetch": prefetch}
    whole = digests(NOISY.feed(3, y=B.labels, n_epochs=3, **options))
    feed = NOISY.feed(3, y=B.labels, **options)
    assert [*digests(feed), *digests(feed), *digests(feed)] == whole


def test_without_shuffle_and_randomness_each_loop_is_the_same():
    feed = DATASET.p.feed(3, B.labels)
    assert digests(feed) == digests(feed)


@pytest.mark.parametrize(
    ("options", "added"),
    [({}, 1), ({"n_epochs": 3}, 3), ({"n_iters": 5}, 2), ({"n_iters": 5, "n_epochs": 4}, 2)],
)
@pytest.mark.parametrize("is_read", [True, False], ids=["read", "left"])
def test_beginning_a_loop_moves_the_epoch_on(options, added, is_read):
    feed = DATASET.p.feed(3, B.labels, **options)
    loop = iter(feed)
    next(loop)
    if is_read:
        assert len([*loop]) > 0
    assert feed.epoch == added


def test_a_loop_without_end_moves_the_epoch_behind_what_it_has_given():
    feed = DATASET.p.feed(3, B.labels, n_epochs=None)
    loop = iter(feed)
    seen = [feed.epoch for _ in zip(range(5), loop, strict=False)]
    loop.close()
    assert seen == [1, 1, 1, 1, 2]


def test_the_epoch_can_be_set_and_given():
    whole = digests(NOISY.feed(3, shuffle=1, n_epochs=4))
    feed = NOISY.feed(3, shuffle=1, first_epoch=2)
    assert (feed.epoch, digests(feed)) == (2, whole[8:12])
    feed.epoch = 1
    assert (digests(feed), feed.epoch) == (whole[4:8], 2)


@pytest.mark.parametrize("epoch", [-1, 1.5, "2", True])
def test_an_epoch_is_a_whole_number_from_0_on(epoch):
    feed = DATASET.p.feed(3)
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="epoch must be"):
        feed.epoch = epoch


def test_an_order_that_keeps_a_state_goes_on_with_the_loops():
    def in_turns():
        calls = []

        def order(positions):
            calls.append(None)
            return np.roll(positions, len(calls))

        return order

    whole = digests(DATASET.p.feed(3, B.labels, shuffle=in_turns(), n_epochs=3))
    feed = DATASET.p.feed(3, B.labels, shuffle=in_turns())
    assert [*digests(feed), *digests(feed), *digests(feed)] == whole


def test_the_tuples_have_what_was_given():
    assert [len(t) for t in DATASET.p.feed(5)] == [1, 1]
    ((x, y, w),) = DATASET.p.feed(10, B.images, B.labels, B.labels * 2)
    assert (x.shape, y.tolist(), w.tolist()) == ((10, 2), list(range(10)), list(range(0, 20, 2)))


def test_several_inputs_and_outputs():
    x = {"a": B.images, "b": [B.labels, F(len)(B())]}
    (((a, b), y),) = ((x.values(), y) for x, y in DATASET.p.feed(10, x, (B.labels,)))
    assert (a.shape, b[1], y[0].shape) == ((10, 2), 10, (10,))
    assert (type(b), type(y)) == (tuple, tuple)


def test_without_a_seed_each_loop_is_another_run():
    feed = NOISY.feed(5)
    assert digests(feed) != digests(feed)
    drawn = DATASET.p.feed(10, B.labels, shuffle=np.random.default_rng(1))
    assert len(drawn) == 1  # draws nothing
    first, second = digests(drawn), digests(drawn)
    assert first != second
    assert first == digests(DATASET.p.feed(10, B.labels, shuffle=np.random.default_rng(1)))


@each_prefetch
def test_ordered_steps_are_taken_and_their_variables_seen(prefetch):
    pipeline = DATASET.p.init_variable("n", 0).update(V("n"), V("n") + 1)
    feed = pipeline.feed(4, V("n") + 0 * B.number, prefetch=prefetch)
    assert [n for (n,) in feed] == [1, 2, 3]
    assert pipeline.v("n") == 3


def test_every_kind_of_step_is_taken():
    feed = DATASET.p.filter(B.labels > 1).rebatch(3).feed(4, B.labels)
    assert [x.tolist() for (x,) in feed] == [[2, 3, 4], [5, 6, 7], [8, 9]]
    with pytest.raises(TypeError, match="regrouping"):
        len(feed)
    assert bool(feed)


@each_prefetch
def test_leaving_the_loop_ends_the_run(prefetch):
    with nothing_left():
        for _ in NOISY.feed(1, prefetch=prefetch, n_epochs=None):
            break


def test_options_set_ahead_hold():
    assert len(DATASET.p.run_later(5, n_epochs=3).feed()) == 6


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p.feed(3, prefech=1), ArgumentTypeError, "Did you mean 'prefetch'"),
        (lambda p: p.feed(), ArgumentTypeError, "batch_size is missing"),
        (lambda p: p.feed(30, drop_last=True), ArgumentValueError, "batch_size=30 is larger"),
        (lambda p: p.feed(3, V("lost")), UnknownNameError, r"feed\(x=V\('lost'\)\), chained at"),
        (lambda p: p.feed(3, bar=V("lost")), UnknownNameError, "lost"),
        (lambda p: p.feed(3, "images"), ArgumentTypeError, "x is an expression such as B.images"),
        (lambda p: p.feed(3, y=[B.labels, 5]), ArgumentTypeError, "y is an expression.*got 5"),
        (lambda p: p.feed(3, []), ArgumentTypeError, "x is an expression"),
        (lambda p: p.feed(3, sample_weight=B.labels), ArgumentTypeError, "goes with y"),
        (lambda p: Pipeline().feed(3), ArgumentTypeError, "no dataset"),
    ],
)
def test_what_can_be_known_is_refused_at_the_call(call, error, message):
    with pytest.raises(error, match=message):
        call(DATASET.p)


@each_prefetch
def test_an_error_of_an_expression_says_where(prefetch):
    with pytest.raises(UnknownAttributeError, match="'images'") as caught:
        list(DATASET.p.feed(4, B.imags, prefetch=prefetch))
    assert any(f"'feed', chained at {__file__}" in note for note in caught.value.__notes__)
    assert "batch 0, epoch 0, 4 items with the ids [0, 1, 2, 3]" in caught.value.__notes__


# ---- by index

OPTIONS = {"shuffle": True, "seed": 3}


def expected(n_epochs, pipeline=NOISY, **options):
    flat = digests(pipeline.feed(3, y=B.labels, **{**OPTIONS, **options}, n_epochs=n_epochs))
    return [flat[i : i + 4] for i in range(0, len(flat), 4)]


@each_prefetch
def test_epochs_in_order_are_those_of_the_feed(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    assert len(reader) == 4
    assert [epoch_of(reader) for _ in range(3)] == expected(3)


@each_prefetch
def test_any_order_gives_the_same_batches(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    orders = [3, 1, 0, 2], [0, 3, 2, 1], [0, 1, 3, 2], [2] * 4
    for epoch, order in zip(expected(4), orders, strict=True):
        assert epoch_of(reader, order) == [epoch[i] for i in order]
    assert epoch_of(reader) == expected(5)[4]


@each_prefetch
def test_items_read_before_the_first_epoch_change_nothing(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    early = digests([reader.read(0), reader.read(1)])
    first = epoch_of(reader)
    again = digests([reader.read(0), reader.read(1)])
    assert early == first[:2] == again
    assert [first, epoch_of(reader)] == expected(2)


@each_prefetch
@pytest.mark.parametrize("order", [range(4), [0, 2, 3, 1], [3, 1, 0, 2]])
def test_batches_read_before_the_first_epoch_are_made_once(prefetch, order):
    made = []
    reader = indexed(DATASET.p.call(made.append, B.number), prefetch=prefetch)
    early = [reader.read(0), reader.read(1)]
    reader.begin_epoch()
    seen = {i: reader.read(i) for i in order}
    assert sorted(made) == [0, 1, 2, 3]
    assert digests(early) == digests([seen[0], seen[1]])


def test_writing_to_a_batch_read_before_the_first_epoch_changes_none_of_it():
    reader = indexed(**OPTIONS)
    reader.read(0)[0][:] = 0
    assert epoch_of(reader) == expected(1)[0]


def test_a_batch_read_twice_before_the_first_epoch_is_the_same():
    reader = indexed(**OPTIONS)
    assert digests([reader.read(0)]) == digests([reader.read(0)])


@each_prefetch
def test_close_before_the_first_epoch_changes_nothing(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    reader.read(0)
    reader.close()
    assert epoch_of(reader) == expected(1)[0]


@each_prefetch
def test_a_pass_over_several_epochs_of_the_reader_belongs_to_the_first(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    seen = [*epoch_of(reader, [0, 1]), *epoch_of(reader, [2, 3]), *epoch_of(reader, [0, 1])]
    first, _, third = expected(3)
    assert seen == [*first, *third[:2]]


def test_batches_read_in_order_are_made_ahead_and_others_are_not():
    made = []
    pipeline = DATASET.p.call(made.append, B.number)
    reader = indexed(pipeline, 1, prefetch=4)
    reader.begin_epoch()
    reader.read(0)
    end = time.monotonic() + 20
    while len(made) < 5 and time.monotonic() < end:
        time.sleep(0.001)
    assert sorted(made) == [0, 1, 2, 3, 4]
    reader.close()
    made.clear()
    reader.read(7)
    assert made == [7]


@each_prefetch
def test_several_threads_read_the_same_values(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    reader.begin_epoch()
    seen = {}

    def read(indices):
        seen.update({i: digest(*reader.read(i)) for i in indices})

    threads = [threading.Thread(target=read, args=([i, i + 2],)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seen[i] for i in range(4)] == expected(1)[0]


@each_prefetch
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2]], ids=["in order", "alone"])
def test_an_exception_is_the_same_object_with_its_notes(prefetch, order):
    error = ValueError("mine")
    reader = indexed(DATASET.p.fail(2, error), prefetch=prefetch)
    with nothing_left():
        reader.begin_epoch()
        with pytest.raises(ValueError, match="mine") as caught:
            for i in order:
                reader.read(i)
    assert caught.value is error
    assert any("'fail', chained at" in note for note in error.__notes__)
    assert len(reader.read(0)) == 2  # and goes on


@each_prefetch
@pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
@pytest.mark.parametrize("at", [1, 3])
def test_a_batch_that_is_missing_is_an_error(prefetch, signal, at):
    reader = indexed(DATASET.p.fail(at, signal()), prefetch=prefetch)
    reader.begin_epoch()
    with pytest.raises(ActionResultError, match=f"batch {at} .*SkipBatch or StopPipeline"):
        for i in range(4):
            reader.read(i)


@each_prefetch
def test_nothing_is_left_after_an_epoch_or_close(prefetch):
    reader = indexed(DATASET.p.later(), prefetch=prefetch)
    with nothing_left():
        epoch_of(reader)
    with nothing_left():
        epoch_of(reader, [0, 1])
        reader.read(3)
        reader.close()
    with nothing_left():
        epoch_of(reader, [0])
        del reader


@each_prefetch
def test_close_in_an_epoch_changes_nothing(prefetch):
    reader = indexed(**OPTIONS, prefetch=prefetch)
    first = epoch_of(reader, [0, 1])
    reader.close()
    assert [*first, *digests([reader.read(2), reader.read(3)])] == expected(1)[0]


def test_what_is_read_after_close_is_made_alone_until_an_epoch_begins():
    reader = indexed(**OPTIONS, prefetch=4)
    first = epoch_of(reader, [0])
    reader.close()
    with nothing_left():
        rest = digests(reader.read(i) for i in (1, 2))
    assert [*first, *rest] == expected(1)[0][:3]
    with nothing_left():
        assert epoch_of(reader, [0]) == expected(2)[1][:1]
        assert any(thread.name.startswith("batchflow-") for thread in threading.enumerate())
        reader.close()


def test_a_function_that_orders_is_called_once_per_epoch():
    def orders():
        return np.random.default_rng(1).permutation

    by_index = indexed(DATASET.p, shuffle=orders())
    flat = digests(DATASET.p.feed(3, y=B.labels, shuffle=orders(), n_epochs=2))
    assert epoch_of(by_index) + epoch_of(by_index, [3, 2, 1, 0])[::-1] == flat


def test_late_draws_are_the_same_alone_and_in_order():
    reader = indexed(x=B.images + R.normal(), **OPTIONS)
    assert epoch_of(reader) == digests(reader.read(i) for i in range(4))


def test_steps_taken_once_are_taken_before_any_read():
    pipeline = DATASET.p.init_variable("n", 0).once.update(V("n"), 5).main
    assert indexed(pipeline, x=V("n") + B.number).read(2)[0] == 7


def test_an_index_that_is_none_is_refused():
    reader = indexed()
    for index in (4, -1):
        with pytest.raises(IndexError, match="4 batches"):
            reader.read(index)


@pytest.mark.parametrize(
    ("pipeline", "step"),
    [
        (DATASET.p.noise().in_order(), r"in_order\(\).*in order"),
        (DATASET.p.init_variable("n", 0).update(V("n"), 1), r"update\(.*in order"),
        (DATASET.p.discard_batch(), r"discard_batch\(\).*may skip"),
        (Pipeline().filter(B.labels > 1) @ 0.5 << DATASET, r"filter\(.*may skip"),
        (DATASET.p.rebatch(2), r"rebatch\(2\).*other batches"),
        (DATASET.p.merge(DATASET), r"merge\(.*other batches"),
        (DATASET.p.join(DATASET.p.discard_batch()).load(components="labels"), "discard_batch"),
        (DATASET.p.before.print(1).main, r"print\(1\).*once in a run \(before\)"),
    ],
)
def test_pipelines_that_cannot_be_indexed_are_refused_by_the_step(pipeline, step):
    with pytest.raises(ArgumentValueError, match=f"(?s){step}") as caught:
        indexed(pipeline)
    assert f"chained at {__file__}:" in str(caught.value)
    pipeline.feed(3)  # which is no reason to refuse a loop over it


def test_a_number_of_batches_is_refused():
    with pytest.raises(ArgumentValueError, match="steps_per_epoch"):
        indexed(n_iters=3)
