"""The examples run as a user would run them."""

import shutil
from pathlib import Path

import pytest
from own_process import run_alone

pytestmark = pytest.mark.tensorflow

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, folder):
    script = Path(shutil.copy(EXAMPLES / name, folder))
    return run_alone(script, env={"TF_CPP_MIN_LOG_LEVEL": "2", "MPLBACKEND": "Agg"}, timeout=280)


def test_the_digits_are_learned_with_one_answer_and_a_picture(tmp_path):
    done = run("digits.py", tmp_path)
    accuracy = float(done.stdout.split("test accuracy ")[1].split("%")[0])
    assert accuracy >= 97
    assert "the same to the last bit" in done.stdout
    assert "waited" in done.stderr  # the progress bar
    assert (tmp_path / "digits_learning_curve.png").stat().st_size > 10_000


@pytest.mark.backends("jax")
def test_two_devices_train_one_model_as_one_device_does(tmp_path):
    told = run("data_parallel.py", tmp_path).stdout
    assert "devices: cpu:0, cpu:1" in told
    assert float(told.split("test accuracy ")[1].split("%")[0]) > 70
    assert float(told.split("one device: ")[1].split()[0]) < 1e-3
    assert float(told.split("of a loss: ")[1].split()[0]) < 1e-3


@pytest.mark.cluster
def test_two_trainers_share_each_epoch_and_average_their_weights(tmp_path):
    told = run("two_trainers.py", tmp_path).stdout
    assert told.count("1408 items, 0 seen by both") == 12
    assert float(told.split("test accuracy ")[1].split("%")[0]) > 85
    assert "both the same: True" in told
