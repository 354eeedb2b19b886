"""What the tests of the words of a chain share."""

import pytest

PREFETCH = (0, 1, 4)
each_prefetch = pytest.mark.parametrize("prefetch", PREFETCH)


@pytest.fixture(autouse=True)
def _most_interleavings(most_interleavings):
    """Every test here."""
