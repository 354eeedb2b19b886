"""What tests of several folders share."""

import gc
import os
from contextlib import ExitStack

import own_process
import pytest
from hypothesis import HealthCheck, settings

from batchflow.executors.item_threads import shutdown
from batchflow.testing import hand_over_every_batch

own_process.can_be_interrupted()

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Keep the garbage collector away from what is there before the first test.

    Thousands of collected tests are on the heap: a `gc.collect()` that looks at them takes a third
    of a second, and many tests call it several times.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_test_waits_for_the_disk():
    """Nothing here is read after a power cut. Whether files are flushed is seen by the calls."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def most_interleavings():
    """Threads hand over every batch, so that orders which are rare elsewhere are usual here."""
    with hand_over_every_batch():
        yield


@pytest.fixture
def started():
    """Starts programs, as `own_process.started` does. The end of the test is theirs."""
    with ExitStack() as programs:
        yield lambda command, **options: programs.enter_context(
            own_process.started(command, **options)
        )


@pytest.fixture(scope="module")
def no_pool_is_left():
    """The pool of per-item work ends with the tests of a file."""
    yield
    shutdown()
