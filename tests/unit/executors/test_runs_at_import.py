"""A module that runs a pipeline in processes as it is imported: workers that import it refuse."""

import pytest
from own_process import finished

MODULE = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from batchflow import ArrayBatch, Dataset, action
from batchflow.batch import apply_parallel

with open({log!r}, "a") as log:
    log.write("imported\\n")


class Rows(ArrayBatch):
    components = "x"

    @action
    def double(self):
        self.x = self.x * 2
        return self

    @apply_parallel(src="x", target="processes")
    def double_items(self, x):
        return x * 2


pipeline = Dataset.from_arrays(Rows, x=np.arange(10.0)).p
{run}
"""
STANDARD = "ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'))"
RUNS = {
    "processes": "pipeline.double().run(5, executor='processes', n_workers=1)",
    "a pool of the standard library": f"pipeline.double().run(5, executor={STANDARD})",
    "loky": (
        "import loky\npipeline.double().run(5, executor=loky.get_reusable_executor(max_workers=1))"
    ),
    "items in processes": "pipeline.double_items().run(5)",
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_its_workers_say_why_they_refuse(tmp_path, run):
    if "loky" in run:
        pytest.importorskip("loky")
    log = tmp_path / "log"
    (tmp_path / "training.py").write_text(MODULE.format(log=str(log), run=run))
    done = finished(["-c", "import training"], cwd=tmp_path)
    assert done.returncode == 1
    assert "the module 'training' runs work in processes while it is imported" in done.stderr
    assert 'below if __name__ == "__main__"' in done.stderr
    assert len(log.read_text().split()) <= 5  # here, and by workers that give up
