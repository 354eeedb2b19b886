"""When the next checkpoint is due."""

import math
from types import SimpleNamespace

import pytest

from batchflow import Checkpoint
from batchflow.checkpoints import timer as module
from batchflow.checkpoints.timer import Timer


@pytest.fixture
def clock(monkeypatch):
    own = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: own.now)
    return own


def due(timer, clock, store, until, step=0.01):
    """Return when it is time, in seconds from now on; None: not until then."""
    start = clock.now
    while clock.now - start < until:
        if timer.is_time(store):
            return clock.now - start
        clock.now += step
    return None


def test_by_batches():
    timer = Timer(Checkpoint("a", every_n_batches=3))
    assert [timer.is_due(n) for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert not Timer(Checkpoint("a")).is_due(10**9)


def test_by_seconds(clock):
    timer, store = Timer(Checkpoint("a", every_seconds=5)), SimpleNamespace(cost=0.0)
    assert due(timer, clock, store, 10) == pytest.approx(5, abs=0.02)
    timer.saved(3.0)
    assert due(timer, clock, store, 10) == pytest.approx(5, abs=0.02)
    assert due(Timer(Checkpoint("a", every_n_batches=3)), clock, store, 1000, 1) is None


def test_by_what_it_costs(clock):
    timer, store = Timer(Checkpoint("a", overhead=0.01)), SimpleNamespace(cost=0.0)
    assert due(timer, clock, store, 1) == 0  # the first one, to see what it costs
    timer.saved(0.1)
    store.cost = math.inf  # it is being written
    assert due(timer, clock, store, 100, 0.1) is None
    store.cost = 0.2
    assert due(timer, clock, store, 100) <= 0.05  # at once: 100 seconds have passed
    timer.saved(0.1)
    assert due(timer, clock, store, 100) == pytest.approx(30, abs=0.05)


def test_the_first_one_and_the_one_at_the_end_are_paid_for_too(clock):
    timer, store, start = Timer(Checkpoint("a", overhead=0.01)), SimpleNamespace(cost=0.2), 100.0
    spent, ends = 0.0, 1000.0
    while due(timer, clock, store, ends - (clock.now - start)) is not None:
        timer.saved(0.1)
        spent += 0.3
    assert 0.009 < (spent + 0.3) / ends <= 0.01
