"""Ray and Dask, on this machine: `make test-cluster`."""

import pytest

import batchflow

from .suite import FarSuite

pytestmark = pytest.mark.cluster


class TestDask(FarSuite):
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


class TestRay(FarSuite):
    script = '"ray"'

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        pytest.importorskip("ray")
        yield "ray"
        batchflow.shutdown()
