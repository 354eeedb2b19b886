"""Laws 3, 4 and 5: in order, exactly once, one at a time in the section, bounded."""

import threading

import pytest

from batchflow import Batch, Dataset, SkipBatch, action, model

from .conftest import PREFETCH, make_batch_class, make_dataset


def numbers(pipeline, **options):
    return [batch.number for batch in pipeline.gen_batch(**options)]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_batches_come_in_order_whatever_finishes_first(prefetch):
    """Each batch waits until the next one is done, as far as workers and prefetch reach."""
    done = [threading.Event() for _ in range(21)]
    done[20].set()

    class Backwards(Batch):
        @action
        def wait_for_the_next(self):
            if prefetch >= 4 and self.number % 2 == 0:
                assert done[self.number + 1].wait(10)
            done[self.number].set()
            return self

    pipeline = Dataset(20, Backwards).p.wait_for_the_next()
    assert numbers(pipeline, batch_size=1, prefetch=prefetch) == list(range(20))


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("skipped", [(0,), (3,), (6,), (0, 3, 6), tuple(range(7))])
def test_skipped_batches_are_left_out_and_the_rest_keep_their_numbers(dataset, prefetch, skipped):
    expected = [n for n in range(7) if n not in skipped]
    chain = dataset.p.jitter()
    assert numbers(chain.skip(*skipped), batch_size=8, prefetch=prefetch) == expected


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_skip_in_the_section_has_run_the_steps_before_it(dataset, prefetch, number):
    dataset.batch_class.models.reset("momentum")
    chain = dataset.p.init_variable("history", init=list).jitter()
    pipeline = chain.train(skip_at=number).train()
    assert number not in numbers(pipeline, batch_size=8, prefetch=prefetch)
    assert dataset.batch_class.models["momentum"]["steps"] == 12


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_a_skip_behind_the_section_does_not_undo_the_section(dataset, prefetch):
    dataset.batch_class.models.reset("momentum")
    pipeline = dataset.p.init_variable("history", init=list).train().skip(2)
    assert numbers(pipeline, batch_size=8, prefetch=prefetch) == [0, 1, 3, 4, 5, 6]
    assert dataset.batch_class.models["momentum"]["steps"] == 7


@pytest.mark.parametrize("prefetch", [1, 2, 4, 16])
@pytest.mark.parametrize("n_workers", [1, 3, None])
def test_at_most_prefetch_batches_are_made_ahead_of_the_consumer(prefetch, n_workers):
    made = threading.Semaphore(0)
    count = []

    class Counting(Batch):
        @action
        def count(self):
            count.append(self.number)
            made.release()
            return self

    n_made = 0
    with (
        Dataset(60, Counting).p.count().gen_batch(1, prefetch=prefetch, n_workers=n_workers) as run
    ):
        for taken, _ in enumerate(run, start=1):
            while n_made < min(taken + prefetch, 60):  # the workers come this far ...
                assert made.acquire(timeout=10)
                n_made += 1
            assert not made.acquire(timeout=0.002)  # ... and no further
            assert len(count) == n_made


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_at_most_n_workers_batches_are_at_work_at_once(n_workers):
    lock = threading.Lock()
    inside, most = [], []
    meet = threading.Barrier(n_workers)

    class Crowded(Batch):
        @action
        def enter(self):
            with lock:
                inside.append(1)
                most.append(len(inside))
            meet.wait(10)  # passes only when n_workers batches are here together
            with lock:
                inside.pop()
            return self

    Dataset(20, Crowded).p.enter().run(1, prefetch=10, n_workers=n_workers)
    assert max(most) == n_workers


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_the_section_takes_one_batch_at_a_time_in_order_in_the_consumers_thread(prefetch):
    seen = []

    class Ordered(make_batch_class()):
        @action(singleton=True)
        def note(self):
            seen.append((self.number, threading.get_ident()))
            return self

    make_dataset(batch_class=Ordered).p.jitter().note().run(2, prefetch=prefetch, n_epochs=2)
    assert seen == [(n, threading.get_ident()) for n in range(50)]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_nothing_ordered_runs_ahead_of_the_batch_in_hand(training, prefetch):
    for batch in training.gen_batch(8, prefetch=prefetch, n_epochs=2):
        assert len(training.v("history")) == batch.number + 1


def test_parallel_steps_between_ordered_ones_run_in_the_section(dataset):
    threads = []

    class Between(make_batch_class()):
        @action
        def look(self):
            threads.append(threading.get_ident())
            return self

    chain = make_dataset(batch_class=Between).p.init_variable("history", init=list)
    chain.train().look().train().run(10, prefetch=4)
    assert set(threads) == {threading.get_ident()}
    threads.clear()
    chain.look().train().run(10, prefetch=4)
    assert threading.get_ident() not in threads


def test_other_steps_on_a_model_with_a_singleton_step_are_ordered():
    class Two(Batch):
        @model()
        def log():
            return []

        @action(model="log")
        def look(self, log):
            log.append(("look", self.number))
            return self

        @action(model="log", singleton=True)
        def train(self, log):
            log.append(("train", self.number))
            return self

    Dataset(6, Two).p.look().train().run(1, prefetch=4)
    assert Two.models["log"] == [(name, n) for n in range(6) for name in ("look", "train")]


def test_the_model_actions_of_a_class_run_concurrently_when_none_is_a_singleton():
    meet = threading.Barrier(3)

    class Free(Batch):
        @model()
        def barrier():
            return meet

        @action(model="barrier")
        def meet(self, barrier):
            barrier.wait(10)
            return self

    assert numbers(Dataset(6, Free).p.meet(), batch_size=1, prefetch=3) == list(range(6))


def test_no_batch_crosses_the_border_of_an_epoch():
    sizes = [(b.epoch, len(b)) for b in Dataset(7).p.gen_batch(3, n_epochs=2, shuffle=1)]
    assert sizes == [(0, 3), (0, 3), (0, 1), (1, 3), (1, 3), (1, 1)]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_each_epoch_has_every_item_once(prefetch):
    seen = {}
    for batch in Dataset(23).p.gen_batch(4, n_epochs=3, shuffle=True, prefetch=prefetch):
        seen.setdefault(batch.epoch, []).extend(batch.indices.tolist())
    assert [sorted(ids) for ids in seen.values()] == [list(range(23))] * 3
    assert len({tuple(ids) for ids in seen.values()}) == 3


def test_a_nested_run_in_a_section_does_not_block(dataset):
    class Nested(make_batch_class()):
        @action(singleton=True)
        def inner(self, pipeline):
            pipeline.run(25, prefetch=2)
            return self

    data = make_dataset(batch_class=Nested)
    inner = data.p.init_variable("history", init=list).train()
    outer = data.p.init_variable("history", init=list).train().inner(inner).train()
    outer.run(10, prefetch=2)
    assert len(inner.v("history")) == 10
    assert len(outer.v("history")) == 10


def test_skip_batch_has_its_old_name_too():
    from batchflow import SkipBatchException

    assert SkipBatchException is SkipBatch
