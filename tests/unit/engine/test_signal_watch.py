"""The handlers of signals that runs with checkpoints set."""

import signal

import pytest

from batchflow.engine.resuming.signals import SignalWatch


@pytest.fixture
def told():
    came = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append("old"))
    yield came
    signal.signal(signal.SIGUSR1, before)


def send():
    signal.raise_signal(signal.SIGUSR1)


def test_the_first_signal_is_noted_and_the_second_passed_on(told):
    watch = SignalWatch(["SIGUSR1"])
    send()
    assert (watch.is_seen, told) == (True, [])
    send()
    assert told == ["old"]


def test_behind_the_end_the_old_handler_is_back(told):
    watch = SignalWatch(["SIGUSR1"])
    watch.put_back()
    send()
    assert (watch.is_seen, told) == (False, ["old"])


def test_an_abandoned_watch_swallows_no_signal(told):
    watch = SignalWatch(["SIGUSR1"])
    del watch
    send()
    assert told == ["old"]


@pytest.mark.parametrize("order", ["first one first", "last one first"])
def test_watches_that_end_in_any_order_swallow_no_signal(told, order):
    watches = [SignalWatch(["SIGUSR1"]), SignalWatch(["SIGUSR1"])]
    for watch in watches if order == "first one first" else watches[::-1]:
        watch.put_back()
    send()
    assert told == ["old"]
