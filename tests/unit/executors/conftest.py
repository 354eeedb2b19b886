"""What the tests of worker processes share."""

import sys

import pytest

from batchflow.executors.item_threads import shutdown
from batchflow.executors.processes.pool import process_pool
from batchflow.executors.serialization.pickling import pack


@pytest.fixture
def open_job(request):
    """Opens jobs, which are closed at the end. The test's module travels by value."""
    import cloudpickle

    module, jobs = sys.modules[request.module.__name__], []
    cloudpickle.register_pickle_by_value(module)

    def opened(function, n_workers=2):
        jobs.append(process_pool().open(pack(function), n_workers))
        return jobs[-1]

    yield opened
    cloudpickle.unregister_pickle_by_value(module)
    for job in jobs:
        job.close(0)


@pytest.fixture(scope="module", autouse=True)
def _no_worker_is_left():
    yield
    shutdown()
