"""Waiting for a result: see executors/waiting.py."""

import functools
import gc
import threading
import time
import weakref
from concurrent.futures import Future

import pytest

from batchflow.executors import waiting
from batchflow.executors.waiting import result_of


def ended(value=None, error=None):
    future = Future()
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
    return future


def test_a_result_that_is_there_is_given_even_when_the_wait_is_over():
    assert result_of(ended(3)) == 3
    assert result_of(ended(3), time.monotonic() - 1) == 3


def test_a_wait_is_over_at_its_end():
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        result_of(Future(), start + 0.05)
    assert time.monotonic() >= start + 0.05


def test_a_timeout_error_of_the_task_is_its_error():
    error = TimeoutError("of the task")
    with pytest.raises(TimeoutError, match="of the task") as caught:
        result_of(ended(error=error))
    assert caught.value is error
    assert error.__context__ is None


def test_a_result_that_comes_while_the_wait_wakes_up_is_given(monkeypatch):
    monkeypatch.setattr(waiting, "WAKE_UP", 0.001)

    class JustMissed(Future):
        def result(self, timeout=None):
            if not self.done():
                time.sleep(timeout)
                self.set_result("there")
                raise TimeoutError
            return super().result(timeout)

    assert result_of(JustMissed()) == "there"


def test_an_error_of_a_signal_handler_ends_the_wait():
    class Interrupted(Future):
        def result(self, timeout=None):
            raise TimeoutError("the handler's")

    with pytest.raises(TimeoutError, match="the handler's"):
        result_of(Interrupted())


def test_it_looks_around_when_it_wakes_up(monkeypatch):
    monkeypatch.setattr(waiting, "WAKE_UP", 0.001)
    future, n_looks = Future(), []

    def look():
        n_looks.append(1)
        if len(n_looks) == 3:
            threading.Thread(target=future.set_result, args=("there",)).start()

    assert result_of(future, look=look) == "there"
    assert len(n_looks) >= 3


def test_an_error_and_its_future_are_no_circle():
    class Held(Exception):
        pass

    gc.disable()
    try:
        future = ended(error=Held())
        reference = weakref.ref(future)
        with pytest.raises(Held):
            result_of(future, look=functools.partial(bool, future))
        del future
        assert reference() is None
    finally:
        gc.enable()
