"""Law 6: end, break, close, error, garbage collection, Ctrl-C: nothing of the run is left."""

import gc
import os
import signal
import threading
import time
import weakref

import pytest

from batchflow import Batch, BatchflowError, Dataset, RunClosedError, action
from batchflow.testing import nothing_left

from .conftest import (
    PREFETCH,
    leave_at_the_end,
    leave_before_the_first_batch,
    leave_by_break,
    leave_by_close,
    leave_to_the_garbage_collector,
    make_batch_class,
    make_dataset,
)

PARALLEL = [p for p in PREFETCH if p]


def leave_the_with_block(run):
    with run:
        next(run)


def leave_by_an_exception(run):
    with pytest.raises(ZeroDivisionError):
        for _ in run:
            raise ZeroDivisionError


WAYS = [
    leave_at_the_end,
    leave_by_break,
    leave_by_close,
    leave_the_with_block,
    leave_by_an_exception,
    leave_to_the_garbage_collector,
    leave_before_the_first_batch,
]


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_out_leaves_nothing(training, way, prefetch):
    with nothing_left():
        for _ in range(5):
            way(training.gen_batch(4, prefetch=prefetch, n_epochs=3))


def test_a_thousand_pipelines_leave_nothing():
    work = make_batch_class()
    with nothing_left():
        for i in range(1000):
            pipeline = make_dataset(20, work).p.augment(scale=i)
            WAYS[i % len(WAYS)](pipeline.gen_batch(2, prefetch=1 + i % 4))


def test_a_closed_run_says_so(training):
    run = training.gen_batch(4)
    next(run)
    run.close()
    with pytest.raises(RunClosedError, match="gen_batch"):
        next(run)


def test_close_from_another_thread_lets_the_reader_have_its_batch():
    go, begun = threading.Event(), threading.Event()

    class Waiting(Batch):
        @action
        def wait(self):
            if self.number:
                begun.set()
                go.wait(30)
            return self

    with nothing_left():
        run = Dataset(9, Waiting).p.wait().gen_batch(1, prefetch=2)
        next(run)
        got = []

        def read():
            try:
                got.append(next(run).number)
            except RunClosedError:  # the other thread was first
                got.append("closed")

        reader = threading.Thread(target=read)
        reader.start()
        begun.wait(30)
        closer = threading.Thread(target=run.close)
        closer.start()
        go.set()
        reader.join(30)
        closer.join(30)
        assert got in ([1], ["closed"])
        with pytest.raises(RunClosedError):
            next(run)


def test_two_threads_may_read_one_run(training):
    numbers = []
    run = training.gen_batch(2, prefetch=4)
    readers = [
        threading.Thread(target=lambda: numbers.extend(batch.number for batch in run))
        for _ in range(4)
    ]
    with nothing_left():
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(30)
    assert sorted(numbers) == list(range(25))
    assert len(training.v("history")) == 25


def test_an_action_cannot_close_its_own_run(dataset):
    runs = []

    class Closing(make_batch_class()):
        @action(singleton=True)
        def close_it(self):
            runs[0].close()
            return self

    runs.append(make_dataset(batch_class=Closing).p.close_it().gen_batch(5))
    with nothing_left(), pytest.raises(BatchflowError, match="raise StopPipeline"):
        next(runs[0])


def test_a_run_that_has_ended_stays_at_its_end(training):
    run = training.gen_batch(25)
    assert len(list(run)) == 2
    assert next(run, "end") == "end"


def test_close_does_not_wait_for_a_long_action_and_nothing_starts_after_it():
    go, begun = threading.Event(), threading.Semaphore(0)
    later = []

    class Long(Batch):
        @action
        def wait(self):
            begun.release()
            if self.number:
                go.wait(30)
            return self

        @action
        def note(self):
            later.append(self.number)
            return self

    with nothing_left():
        run = Dataset(9, Long).p.wait().note().gen_batch(1, prefetch=3)
        next(run)
        for _ in range(4):
            begun.acquire(timeout=10)
        start = time.monotonic()
        run.close()
        assert time.monotonic() - start < 5
        go.set()
    assert later == [0]


def test_a_run_releases_its_batches(dataset):
    run = dataset.p.augment().gen_batch(5, prefetch=3)
    refs = []
    for batch in run:
        refs.append(weakref.ref(batch))
        del batch
        gc.collect()
        assert sum(ref() is not None for ref in refs) <= 1


def test_an_abandoned_pipeline_with_an_open_run_is_collected(dataset):
    with nothing_left():
        pipeline = dataset.p.augment()
        pipeline.next_batch(5, prefetch=4)
        ref = weakref.ref(pipeline)
        del pipeline
        end = time.monotonic() + 10
        while ref() is not None and time.monotonic() < end:  # the workers finish their batches
            gc.collect()
        assert ref() is None


def test_the_serial_executor_never_starts_a_thread(training, monkeypatch):
    def refuse(thread):
        raise AssertionError(f"a thread was started: {thread.name}")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    training.run(5, executor="serial", prefetch=8, n_workers=4)
    training.run(5, prefetch=0)
    with pytest.raises(AssertionError, match="a thread was started"):
        training.run(5, prefetch=1)


def test_an_error_ends_the_run(training):
    with nothing_left():
        run = training.boom(at=2).gen_batch(4, prefetch=4)
        assert [next(run).number, next(run).number] == [0, 1]
        with pytest.raises(ValueError, match="boom"):
            next(run)
        with pytest.raises(RunClosedError, match="failed"):
            next(run)


def test_a_raising_singleton_does_not_block_the_next_run(dataset):
    base = dataset.p.init_variable("history", init=list)
    for prefetch in PREFETCH:
        with pytest.raises(ValueError, match="boom"):
            base.train(boom_at=2).run(5, prefetch=prefetch)
        other = threading.Thread(target=base.train().run, args=(5,))
        other.start()
        other.join(20)
        assert not other.is_alive()


SCRIPT = """
import sys, threading, time
from batchflow import Batch, Dataset, action

class Slow(Batch):
    @action
    def sleep(self, seconds):
        time.sleep(seconds)
        return self

    @action(singleton=True)
    def tell(self):
        if self.number == 2:
            print("running", flush=True)
        return self

pipeline = Dataset(10**6, Slow).p.sleep({seconds}).tell()
{body}
"""


@pytest.fixture
def start(started):
    def start(body, seconds=0.01):
        script = SCRIPT.format(body=body, seconds=seconds)
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        return started(["-X", "dev", "-c", script], env=environment)

    return start


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_ctrl_c_ends_the_program(start, prefetch):
    process = start(f"pipeline.run(1, prefetch={prefetch})")
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors


def test_ctrl_c_leaves_no_thread_for_a_program_that_goes_on(start):
    body = """
try:
    pipeline.run(1, prefetch=4)
except KeyboardInterrupt:
    print("threads", threading.active_count())
"""
    process = start(body)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert out == "threads 1\n", errors


@pytest.mark.parametrize(
    "body",
    [
        "run = pipeline.gen_batch(1, prefetch=4)\nnext(run)",
        "pipeline.next_batch(1, prefetch=4)",
        "for batch in pipeline.gen_batch(1, prefetch=4): break",
        "keep = [pipeline.gen_batch(1, prefetch=2) for _ in range(5)]\n[next(run) for run in keep]",
    ],
)
@pytest.mark.parametrize("seconds", [0.01, 3.0])
def test_open_runs_do_not_hold_up_the_end_of_the_program(start, body, seconds):
    process = start(body, seconds)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == ""


def test_an_open_run_with_a_long_action_does_not_hold_up_the_end_of_the_program(start):
    body = """
pipeline = Dataset(10**6, Slow).p.sleep(0.001).tell()
run = (pipeline.sleep(0)).gen_batch(1, prefetch=4)
class Stuck(Batch):
    @action
    def wait(self):
        if self.number:
            time.sleep(600)
        return self
run = Dataset(9, Stuck).p.wait().gen_batch(1, prefetch=4)
next(run)
"""
    begun = time.monotonic()
    process = start(body)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - begun < 30
