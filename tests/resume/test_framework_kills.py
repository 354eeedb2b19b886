"""Programs that train models of frameworks are killed at any time: they end in the same bits."""

import json
import random
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from own_process import started

PROGRAM = Path(__file__).with_name("killed_training.py")


def newest(folder):
    return max((path.name for path in folder.glob("run/step-*")), default="")


def ran(folder, *arguments, seconds=None, progresses=False):
    """Run the program to its end, or kill it.

    Args:
        folder: Where it writes to.
        arguments: The others that it takes: framework, executor, distance of checkpoints.
        seconds: When it is killed: so long behind its beginning. None: it may come to its end.
        progresses: Whether it may first get as far as to its next checkpoint.

    Returns:
        What it has trained (None: it was killed), whether it went on with an earlier one, and how
        long that took.
    """
    folder.mkdir(exist_ok=True)
    before, (framework, executor, every) = newest(folder), arguments
    with started([PROGRAM, framework, folder, executor, every]) as running:
        running.stdout.readline()
        began = time.monotonic()
        while progresses and newest(folder) == before and running.poll() is None:
            time.sleep(0.002)
        try:
            out, errors = running.communicate(timeout=300 if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            assert seconds is not None, "it does not come to its end"
            return SimpleNamespace(trained=None)
    assert running.returncode == 0, errors
    is_resumed, took = "resumed at step" in errors, time.monotonic() - began
    return SimpleNamespace(trained=json.loads(out), is_resumed=is_resumed, took=took)


def killed(framework, folder, n_kills, executors, *, progresses):
    """Kill trainings so often, and compare what each of them comes to.

    Returns:
        How many came to their end, and how many of these went on with an earlier one.
    """
    whole = ran(folder / "whole", framework, "threads", 0)
    rng, ends = random.Random(framework), []
    kills = 0
    while kills < n_kills:
        own, every = folder / str(len(ends)), rng.choice([1, 2, 5])
        while True:
            last = {"seconds": None if kills == n_kills else whole.took * rng.uniform(0.02, 1.0)}
            gets_on = progresses or rng.random() < 0.5
            one = ran(own, framework, rng.choice(executors), every, **last, progresses=gets_on)
            if one.trained is not None:
                break
            kills += 1
        assert one.trained == whole.trained
        ends.append(one.is_resumed)
    return len(ends), sum(ends)


@pytest.mark.tensorflow
@pytest.mark.backends("tensorflow")
def test_a_keras_model_that_is_killed_three_times_ends_in_the_same_bits(tmp_path):
    n_ends, n_resumed = killed("keras", tmp_path, 3, ["threads"], progresses=True)
    assert n_resumed == n_ends > 0


SOAK = {"keras": 40, "torch": 10, "estimator": 10}


@pytest.mark.soak
@pytest.mark.parametrize(
    "framework", ["keras", pytest.param("torch", marks=pytest.mark.torch), "estimator"]
)
def test_killed_at_any_time_it_ends_in_the_same_bits(tmp_path, framework):
    if find_spec("torch" if framework == "torch" else "tensorflow") is None:
        pytest.skip("it is not installed here")
    both = ["threads", "processes"]
    n_ends, n_resumed = killed(framework, tmp_path, SOAK[framework], both, progresses=False)
    assert 0 < n_resumed <= n_ends
