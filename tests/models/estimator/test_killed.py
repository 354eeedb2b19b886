"""Killed and started again, an Estimator ends with the weights of one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.tensorflow

ROOT = Path(__file__).parents[3]


def killed(n_kills, folder):
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(n_kills), str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_twenty_kills_change_no_bit(tmp_path):
    results = killed(20, tmp_path)
    assert results["n_killed"] == 20
    assert results["disturbed"] == results["undisturbed"]
    assert results["disturbed"]["step"] == 150
