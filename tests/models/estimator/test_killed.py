"""Killed and started again, an Estimator ends with the weights of one that was left alone."""

import json
from pathlib import Path

import pytest
from own_process import run_alone

pytestmark = pytest.mark.tensorflow

ROOT = Path(__file__).parents[3]


def killed(n_kills, folder):
    script = Path(__file__).with_name("killed.py")
    env = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = run_alone(script, n_kills, folder, env=env, timeout=280)
    return json.loads(done.stdout.splitlines()[-1])


def test_twenty_kills_change_no_bit(tmp_path):
    results = killed(20, tmp_path)
    assert results["n_killed"] == 20
    assert results["disturbed"] == results["undisturbed"]
    assert results["disturbed"]["step"] == 400
