"""What the tests of the faults of an older batchflow share."""

import textwrap
import threading

import pytest
from own_process import finished_strictly

from batchflow import Batch, SkipBatch, StopPipeline, action
from batchflow.testing import hand_over_every_batch

PREFETCH = (0, 1, 2, 4, 16)
PARALLEL = (1, 2, 4, 16)
each_prefetch = pytest.mark.parametrize("prefetch", PREFETCH)


@pytest.fixture(autouse=True)
def _every_batch_is_handed_over():
    with hand_over_every_batch():
        yield


class MyBatch(Batch):
    """The batch of the reproducers; items are named by their ids."""

    @action
    def ok(self):
        return self

    @action
    def boom(self, at, error=None):
        if at in self.indices:
            raise error or ValueError(f"boom at {at}")
        return self

    @action
    def skip(self, at):
        if set(at) & set(self.indices.tolist()):
            raise SkipBatch
        return self

    @action
    def stop(self, at):
        if at in self.indices:
            raise StopPipeline
        return self


def ids(batches):
    """Give the ids of all items, in the order in which they came."""
    return [item for batch in batches for item in batch.indices.tolist()]


class Turnstile:
    """Lets batches of one item through in pairs, the second of each pair first.

    Needs two batches at work at once: with less it lets everything through as it comes.

    Attributes:
        passed: The numbers of the batches, in the order in which they went through.
    """

    def __init__(self, n_batches, prefetch):
        self.passed = []
        self._gone = [threading.Event() for _ in range(n_batches)]
        self._swaps = prefetch >= 2

    def __call__(self, number):
        second = number + 1
        if self._swaps and number % 2 == 0 and second < len(self._gone):
            assert self._gone[second].wait(20), f"batch {second} never came"
        self.passed.append(number)
        self._gone[number].set()


class Room:
    """Counts how many threads are in it at once, and gives others time to come in.

    Attributes:
        visits: How many times it was entered.
        most: The most threads that were in it at once.
    """

    def __init__(self, patience=0.02):
        self.visits = self.most = self._inside = 0
        self._patience = patience
        self._changed = threading.Condition()

    def visit(self):
        with self._changed:
            self._inside += 1
            self.visits += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._inside > 1, self._patience)
            self._inside -= 1


def in_threads(*functions, timeout=30):
    """Call functions at once, each in a thread of its own; raise the first error."""
    start, results, errors = threading.Barrier(len(functions)), {}, []

    def call(place, function):
        try:
            start.wait(timeout)
            results[place] = function()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=call, args=pair, daemon=True) for pair in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    assert not any(thread.is_alive() for thread in threads), "a thread is blocked"
    if errors:
        raise errors[0]
    return [results[place] for place in range(len(functions))]


PRELUDE = """
import os, signal, sys, threading
from batchflow import Batch, Dataset, action

signal.signal(signal.SIGINT, signal.default_int_handler)

class MyBatch(Batch):
    @action
    def ok(self):
        return self

    @action
    def stuck_behind_the_first(self):
        if self.number:
            threading.Event().wait()
        return self

    @action
    def ctrl_c(self, at):
        if self.number == at:
            # Python loses a signal that comes just before its main thread falls asleep.
            threading.Event().wait(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait()
        return self

    @action(singleton=True)
    def ctrl_c_in_order(self, at):
        if self.number == at:
            signal.raise_signal(signal.SIGINT)
        return self

p = Dataset(100, MyBatch).p
"""


def run_program(body, timeout=40):
    """Run a program of its own with `MyBatch` and a pipeline `p`; it must end by itself."""
    return finished_strictly(PRELUDE + textwrap.dedent(body), timeout)
