"""The examples that need torch run as a user would run them."""

import shutil
from pathlib import Path

import pytest
from own_process import run_alone

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_two_ranks_share_each_epoch_and_end_with_the_same_weights(tmp_path):
    script = Path(shutil.copy(EXAMPLES / "data_parallel_torch.py", tmp_path))
    told = run_alone(script, timeout=280).stdout
    assert "items of an epoch: 719 and 719" in told
    assert "both have had in an epoch: 0" in told
    assert "the same weights in both: True" in told
    assert float(told.split("test accuracy ")[1].split("%")[0]) > 90
