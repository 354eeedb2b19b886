"""What the tests of models share."""

import pytest


@pytest.fixture
def keras():
    """Keras, on the backend of this run: tests that take it are marked `tensorflow`."""
    return pytest.importorskip("keras")
