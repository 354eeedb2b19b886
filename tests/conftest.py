"""What tests of several folders share."""

from contextlib import ExitStack

import own_process
import pytest

from batchflow.testing import hand_over_every_batch

own_process.can_be_interrupted()


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
