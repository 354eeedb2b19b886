"""What all bindings of the suite share."""

import sys

import cloudpickle
import pytest

import batchflow

from . import chains, chaos, suite_answers, suite_endings, suite_errors, suite_travel

MODULES = (chains, chaos, suite_answers, suite_endings, suite_errors, suite_travel)


@pytest.fixture(autouse=True, scope="session")
def _these_modules_travel_by_value():
    """As those of a notebook do: worker processes need not find the tests."""
    for module in MODULES:
        cloudpickle.register_pickle_by_value(sys.modules[module.__name__])
    yield
    for module in MODULES:
        cloudpickle.unregister_pickle_by_value(sys.modules[module.__name__])


@pytest.fixture(autouse=True, scope="package")
def _no_pool_is_left():
    yield
    batchflow.shutdown()


@pytest.fixture(autouse=True)
def _most_interleavings(most_interleavings):
    """Every test here."""
