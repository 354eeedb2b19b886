"""What tests of several folders share."""

import pytest

from batchflow.testing import hand_over_every_batch


@pytest.fixture
def most_interleavings():
    """Threads hand over every batch, so that orders which are rare elsewhere are usual here."""
    with hand_over_every_batch():
        yield
