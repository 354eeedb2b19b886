"""Ray and Dask, on this machine: `make test-cluster`."""

import fcntl
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import batchflow
from batchflow import ArrayBatch, Dataset, action
from batchflow.executors.backends.kinds import worker_count
from batchflow.executors.item_threads import cpu_count

from .chains import BATCH, make_dataset, told
from .suite import FarSuite

pytestmark = pytest.mark.cluster


class Locking(ArrayBatch):
    components = "x"

    @action
    def locked(self, path, seconds):
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(seconds)
        return self


def profiled(executor, path):
    """Return a profile whose bottleneck is a lock between workers."""
    pipeline = Dataset.from_arrays(Locking, x=np.zeros((400, 2))).p.locked(path, 0.02)
    for _ in range(3):  # others use this machine, too
        profile = pipeline.profile(40, 4, executor=executor)
        if profile.bottleneck == "lock":
            break
    return profile


def check_profile(profile):
    """Check what a profile of a run on a cluster tells."""
    source, locked = profile.to_dict()["steps"][:2]
    assert (source["calls"], locked["calls"], locked["name"]) == (40, 40, "locked")
    assert locked["mean"] >= 0.02
    assert "process" in locked["ran_in"]
    assert profile.bottleneck == "lock", str(profile)


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

    def test_its_workers_are_profiled(self, executor, tmp_path):
        check_profile(profiled(executor, tmp_path / "lock"))


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

    def test_its_workers_are_profiled(self, executor, tmp_path):
        check_profile(profiled(executor, tmp_path / "lock"))

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
