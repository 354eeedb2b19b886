"""What the tests of the words of a chain share."""

import pytest

from batchflow.testing import hand_over_every_batch

PREFETCH = (0, 1, 4)
each_prefetch = pytest.mark.parametrize("prefetch", PREFETCH)


@pytest.fixture(autouse=True)
def _most_interleavings():
    with hand_over_every_batch():
        yield
