"""The example of an Estimator runs as a user would run it."""

import shutil
from pathlib import Path

import pytest
from own_process import run_alone

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_digits_are_learned_in_two_processes_and_served_by_tensorflow_alone(tmp_path):
    script = Path(shutil.copy(EXAMPLES / "estimator_digits.py", tmp_path))
    done = run_alone(script, env={"TF_CPP_MIN_LOG_LEVEL": "2"}, timeout=280)
    lines = done.stdout.splitlines()
    assert [line.partition(" after")[0] for line in lines if ": at step" in line] == [
        "stopped: at step 230",
        "stopped: at step 460",
        "in_one_go: at step 460",
    ]
    assert "the same to the last bit" in lines
    assert float(done.stdout.split("test accuracy ")[1].split("%")[0]) >= 97
    assert "the SavedModel gives the same 359 predictions" in done.stdout
