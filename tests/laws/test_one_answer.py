"""Law 1: the same bits at every prefetch, number of workers and executor."""

import contextvars
import itertools
import threading

import numpy as np
import pytest

from batchflow import Pipeline, StopPipeline
from batchflow.testing import digest

from .conftest import PREFETCH, make_batch_class, make_dataset


def everything(pipeline, *, stop_after=None, **options):
    """Run a pipeline from fresh models, and give a digest of all that it leaves."""
    directory = pipeline.dataset.batch_class.models
    directory.reset("momentum")
    seen = []
    with pipeline.gen_batch(**options) as run:
        for batch in run:
            seen += [batch.number, batch.epoch, batch.indices, batch.images, batch.labels]
            if batch.number == stop_after:
                break
    net = directory["momentum"]
    history = pipeline.v("history")
    return digest(*seen, net["weights"], net["velocity"], net["steps"], history), net["steps"]


@pytest.mark.parametrize("shuffle", [False, True, 42])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("length", [{}, {"n_epochs": 3}, {"n_iters": 11}])
def test_every_parallelism_gives_the_same_bits(training, shuffle, drop_last, length):
    options = {"batch_size": 8, "shuffle": shuffle, "drop_last": drop_last, "seed": 5, **length}
    expected, steps = everything(training, executor="serial", **options)
    assert steps > 0
    for prefetch, n_workers in itertools.product(PREFETCH, (None, 1, 2, 8)):
        got, _ = everything(training, prefetch=prefetch, n_workers=n_workers, **options)
        assert got == expected, (prefetch, n_workers)


@pytest.mark.parametrize("seed", [0, 1, 2**64 + 3])
def test_another_seed_gives_other_bits(training, seed):
    options = {"batch_size": 8, "shuffle": True}
    assert everything(training, seed=seed, **options) == everything(training, seed=seed, **options)
    assert everything(training, seed=seed, **options) != everything(training, seed=9, **options)


@pytest.mark.parametrize("number", [0, 3, 6])
def test_break_leaves_the_same_state_at_every_parallelism(training, number):
    options = {"batch_size": 8, "shuffle": 1, "n_epochs": 2, "seed": 5, "stop_after": number}
    answers = {everything(training, prefetch=prefetch, **options) for prefetch in PREFETCH}
    assert len(answers) == 1
    assert answers.pop()[1] == number + 1  # nothing ordered ran ahead of the batch in hand


@pytest.mark.parametrize("number", [0, 3, 6])
def test_stop_pipeline_leaves_the_same_state_at_every_parallelism(dataset, number):
    chain = dataset.p.init_variable("history", init_on_each_run=list).jitter().augment()
    for stopped in (chain.stop(at=number).train(), chain.train(stop_at=number)):
        options = {"batch_size": 8, "shuffle": 1, "n_epochs": 2, "seed": 5}
        answers = {everything(stopped, prefetch=prefetch, **options) for prefetch in PREFETCH}
        assert len(answers) == 1
        assert answers.pop()[1] == number


def test_eight_workers_train_by_momentum_as_one_thread_does(training):
    options = {"batch_size": 5, "shuffle": 7, "n_epochs": 8, "seed": 3}
    serial = everything(training, executor="serial", **options)
    for _ in range(5):
        assert everything(training, prefetch=8, n_workers=8, **options) == serial


def test_the_way_a_batch_is_handed_over_is_no_part_of_the_answer(training, monkeypatch):
    options = {"batch_size": 8, "shuffle": 7, "n_epochs": 8, "seed": 3, "prefetch": 4}
    expected = everything(training, **options)
    monkeypatch.setattr("batchflow.engine.pace.always_hand_over", False)
    monkeypatch.setattr("batchflow.engine.pace.SPELL", 3)
    monkeypatch.setattr("batchflow.engine.pace.SLOW", 1.0)
    monkeypatch.setattr("batchflow.engine.pace.PATIENCE", 0)
    assert everything(training, **options) == expected


def test_the_same_seed_makes_the_same_batch_again_whatever_came_before(training):
    run = training.gen_batch(8, shuffle=3, seed=11, n_epochs=2)
    images = {batch.number: batch.images for batch in run}
    training.dataset.batch_class.models.reset("momentum")
    again = training.gen_batch(8, shuffle=3, seed=run.seed, n_epochs=2, prefetch=4)
    for batch in again:
        np.testing.assert_array_equal(batch.images, images[batch.number])


def test_random_numbers_do_not_depend_on_the_order_of_the_items(dataset):
    class Draw(make_batch_class()):
        pass

    draws = make_dataset(batch_class=Draw).p
    one = [batch.rng.random() for batch in draws.gen_batch(8, shuffle=1, seed=4)]
    other = [batch.rng.random() for batch in draws.gen_batch(8, shuffle=2, seed=4, prefetch=4)]
    assert one == other
    assert len(set(one)) == len(one)


def test_the_seed_that_was_drawn_is_told_and_gives_the_same_answer(training):
    training.dataset.batch_class.models.reset("momentum")
    first = training.gen_batch(8, shuffle=True)
    images = [batch.images for batch in first]
    training.dataset.batch_class.models.reset("momentum")
    second = training.gen_batch(8, shuffle=True, seed=first.seed, prefetch=4)
    assert digest(*images) == digest(*(batch.images for batch in second))
    assert training.gen_batch(8, shuffle=True).seed != first.seed


def test_two_runs_at_once_keep_their_own_positions_orders_and_randomness(dataset):
    chain = dataset.p.jitter().augment()

    def alone(seed):
        return [batch.images for batch in chain.gen_batch(8, shuffle=True, seed=seed)]

    expected = {seed: digest(*alone(seed)) for seed in (1, 2)}
    runs = {s: chain.gen_batch(8, shuffle=True, seed=s, prefetch=4) for s in (1, 2)}
    got = {1: [], 2: []}
    for pair in zip(runs[1], runs[2], strict=True):
        for seed, batch in zip((1, 2), pair, strict=True):
            got[seed].append(batch.images)
    assert {seed: digest(*images) for seed, images in got.items()} == expected


def test_runs_in_two_threads_exclude_each_other_in_the_section(dataset):
    inside, most = [], []

    class Watched(make_batch_class()):
        pass

    def watch(net, batch):
        inside.append(1)
        most.append(len(inside))
        batch.jitter()
        inside.pop()

    from batchflow import action

    class Watching(Watched):
        @action(model="momentum", singleton=True)
        def watch(self, net):
            watch(net, self)
            return self

    pipeline = make_dataset(batch_class=Watching).p.jitter().watch()
    other = make_dataset(batch_class=Watching).p.watch()
    threads = [
        threading.Thread(target=p.run, args=(5,), kwargs={"prefetch": 2})
        for p in (pipeline, pipeline, other, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40
    assert max(most) == 1


def test_actions_run_in_the_context_that_started_the_run(dataset):
    setting = contextvars.ContextVar("setting", default="unset")
    seen = []

    from batchflow import action

    class Reading(make_batch_class()):
        @action
        def read(self):
            seen.append((setting.get(), np.geterr()["divide"]))
            setting.set("changed by an action")
            return self

    pipeline = make_dataset(batch_class=Reading).p.read()
    for prefetch in PREFETCH:
        token = setting.set("outside")
        with np.errstate(divide="raise"):
            run = pipeline.gen_batch(10, prefetch=prefetch)
        setting.reset(token)
        list(run)
    assert set(seen) == {("outside", "raise")}
    assert len(seen) == 5 * len(PREFETCH)


def test_a_prefix_is_shared_without_mixing_state(dataset):
    common = dataset.p.init_variable("history", init=list).augment()
    one, other = common.train(), common.jitter().train()
    one.run(10, seed=1)
    assert len(one.v("history")) == 5
    assert other.v("history") == []
    other.run(10, seed=1)
    assert len(one.v("history")) == len(other.v("history")) == 5


def test_an_unbound_piece_serves_two_datasets():
    piece = Pipeline().augment(scale=2.0).stop(at=3)
    for n_items in (50, 30):
        bound = make_dataset(n_items) >> piece
        assert [batch.number for batch in bound.gen_batch(10, prefetch=4)] == [0, 1, 2]


def test_stop_pipeline_in_the_prefix_discards_what_is_under_way(dataset):
    begun = []

    from batchflow import action

    class Counting(make_batch_class()):
        @action
        def count(self):
            begun.append(self.number)
            if self.number == 3:
                raise StopPipeline
            return self

    pipeline = make_dataset(batch_class=Counting).p.count()
    assert [b.number for b in pipeline.gen_batch(2, prefetch=4)] == [0, 1, 2]
    assert max(begun) <= 3 + 4
