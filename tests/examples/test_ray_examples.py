"""The example that needs Ray Train and torch runs as a user would run it."""

import shutil
from pathlib import Path

import pytest
from own_process import run_alone

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_two_workers_of_ray_train_share_each_epoch_and_end_with_the_same_weights(tmp_path):
    for package in ("torch", "ray.train.torch"):
        pytest.importorskip(package, exc_type=ImportError)
    script = Path(shutil.copy(EXAMPLES / "data_parallel_ray.py", tmp_path))
    told = run_alone(script, timeout=280).stdout
    assert "items of an epoch: 898 and 898" in told
    assert "both have had in an epoch: 0" in told
    assert "the same weights in both: True" in told
