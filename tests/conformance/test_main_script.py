"""A script without a guard, with classes of its own, which imports something slow."""

from pathlib import Path

import pytest
from own_process import run_alone

SLOW = """
import os

with open({log!r}, "a") as log:
    print(os.getpid(), file=log)
"""

SCRIPT = """
import dataclasses
import os
import sys

import numpy as np

import slow_to_import
from batchflow import ArrayBatch, B, Dataset, V, action, model
{imports}

print("the script runs", flush=True)


@dataclasses.dataclass
class Found:
    process: int
    total: float


class MyError(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Mine(ArrayBatch):
    components = "x"

    @model()
    def mean():
        return [0.0]

    @action
    def find(self, fails_at=None):
        if self.number == fails_at:
            raise MyError(7, "it is the script's own")
        self.found = Found(os.getpid(), float(helper(self.x)))
        return self

    @action(model="mean", singleton=True)
    def train(self, mean):
        mean[0] += self.found.total
        return self


def helper(x):
    return np.sum(x) * FACTOR


FACTOR = 2
dataset = Dataset.from_arrays(Mine, x=np.arange(12.0))
options = {{"executor": {executor}, "prefetch": 4, "n_workers": 2}}
pipeline = dataset.p.find().call(lambda found: found.total + 1, B.found, save_to=B.more).train()
batches = list(pipeline.gen_batch(3, **options))
assert [type(batch.found) is Found for batch in batches] == [True] * 4
assert all(type(batch) is Mine for batch in batches)
assert os.getpid() not in {{batch.found.process for batch in batches}}
assert [batch.more for batch in batches] == [7.0, 25.0, 43.0, 61.0]
assert Mine.models["mean"] == [132.0]
try:
    dataset.p.find(fails_at=1).run(3, **options)
except MyError as error:
    assert (error.code, str(error)) == (7, "it is the script's own")
print("all is well")
"""

EXECUTORS = [
    pytest.param("", '"processes"', id="processes"),
    pytest.param("import loky", "loky.get_reusable_executor(2)", id="loky"),
    pytest.param("", '"ray"', id="ray", marks=pytest.mark.cluster),
]


@pytest.mark.parametrize(("imports", "executor"), EXECUTORS)
def test_the_script_is_not_imported_by_workers(tmp_path, imports, executor):
    if executor == '"ray"':
        pytest.importorskip("ray")
    log = tmp_path / "log"
    (tmp_path / "slow_to_import.py").write_text(SLOW.format(log=str(log)))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(imports=imports, executor=executor))
    root = str(Path(__file__).parents[2])
    done = run_alone(script, cwd=tmp_path, env={"PYTHONPATH": root}, timeout=120)
    assert done.stdout.count("the script runs") == 1
    assert "all is well" in done.stdout
    assert len(log.read_text().splitlines()) == 1
