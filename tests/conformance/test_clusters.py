"""Ray and Dask, on this machine: `make test-cluster`."""

import threading
from contextlib import contextmanager

import pytest

import batchflow
from batchflow.executors.backends.kinds import worker_count
from batchflow.executors.item_threads import cpu_count

from .chains import BATCH, make_dataset, told
from .suite import FarSuite

pytestmark = pytest.mark.cluster


@contextmanager
def no_thread_of_ours_is_left():
    """Dask opens and closes connections as it likes."""
    yield
    assert not [t for t in threading.enumerate() if t.name.startswith("batchflow-executor")]


class TestDask(FarSuite):
    leaving_nothing = staticmethod(no_thread_of_ours_is_left)
    imports = "import dask.distributed"
    script = (
        "dask.distributed.Client(n_workers=2, threads_per_worker=2, dashboard_address=None)"
        ".get_executor()"
    )

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        distributed = pytest.importorskip("distributed")
        settings = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
        with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
            yield client.get_executor()

    def test_it_tells_how_many_workers_it_has(self, executor):
        assert worker_count(executor) == 4


class TestRay(FarSuite):
    script = '"ray"'

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        pytest.importorskip("ray")
        yield "ray"
        batchflow.shutdown()

    def test_it_is_on_loopback_and_ends_with_shutdown(self, executor):
        import ray

        make_dataset().p.augment().run(BATCH, executor=executor)
        assert worker_count(executor) == cpu_count()
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        batchflow.shutdown()
        assert not ray.is_initialized()
        assert worker_count(executor) is None

    def test_ray_of_the_users_is_used_and_left(self, executor):
        import ray

        batchflow.shutdown()
        ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="error")
        try:
            make_dataset().p.augment().run(BATCH, executor=executor)
            assert worker_count(executor) == 1
            batchflow.shutdown()
            assert ray.is_initialized()
        finally:
            ray.shutdown()

    def test_ray_that_another_thread_has_begun_outlives_that_thread(self, executor):
        batchflow.shutdown()
        pipeline = make_dataset().p.augment()
        work = {"executor": executor, "prefetch": 4, "seed": 1}
        thread = threading.Thread(target=told, args=(pipeline,), kwargs=work)
        thread.start()
        thread.join()
        assert told(pipeline, **work) == told(pipeline, prefetch=0, seed=1)
