"""Programs that are killed, at any time, and started again: they end as if nothing had been."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from own_process import finished, started

JOB = """
import json, os, random, signal, sys, time, warnings
import numpy as np
from batchflow import ArrayBatch, B, Checkpoint, Dataset, V, action, model

class Rows(ArrayBatch):
    components = "x"

    @model()
    def weights():
        return {"w": np.zeros(3)}

    @action
    def noise(self):
        time.sleep(0.002)
        self.x = self.x + self.rng.normal(size=len(self))
        return self

    @action(model="weights", singleton=True)
    def train(self, weights):
        time.sleep(PAUSE)
        weights["w"] = weights["w"] * 0.9 + self.x[:1].sum() * np.arange(3) + np.random.rand()
        return self

def job(**options):
    np.random.seed(1)
    dataset = Dataset.from_arrays(Rows, x=np.arange(60.0))
    p = dataset.p.init_variable("ids", init=list).noise().rebatch(7).train()
    p = p.update(V("ids", "extend"), B.source_ids)
    p.run(4, shuffle=True, seed=5, n_epochs=4, prefetch=3, **options)
    weights = Rows.models["weights"]["w"].tolist()
    return json.dumps([weights, [int(i) for i in p.v("ids")]])
"""

PROGRAM = (
    JOB
    + """
if __name__ == "__main__":
    folder, executor = sys.argv[1:]
    saving = {"checkpoint": Checkpoint(folder, every_n_batches=3)} if folder else {}
    print(job(executor=executor, **saving))
"""
)


@pytest.fixture
def program(tmp_path):
    def make(pause=0.0):
        file = tmp_path / "program.py"
        file.write_text(PROGRAM.replace("PAUSE", str(pause)))
        return lambda folder="", executor="threads": [file, folder, executor]

    return make


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the program prints where nothing kills it, and how many seconds it takes."""
    file = tmp_path_factory.mktemp("undisturbed") / "program.py"
    file.write_text(PROGRAM.replace("PAUSE", "0"))
    expected = json.loads(finished([file, "", "threads"]).stdout)
    began = time.monotonic()
    finished([file, "", "threads"])
    return expected, time.monotonic() - began


def killed_until_done(command, first, more):
    """Kill a program again and again, until it comes to its end.

    It gets more time with each kill, so that it comes to its end on any machine.

    Returns:
        What it printed, and how often it was killed.
    """
    kills = 0
    while True:
        try:
            done = finished(command, timeout=first + more * kills)
        except subprocess.TimeoutExpired:
            kills += 1
            continue
        assert done.returncode == 0, done.stderr
        return done.stdout, kills


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_killed_at_random_it_ends_in_the_same_bits(program, undisturbed, tmp_path, executor):
    (expected, whole), rng = undisturbed, random.Random(executor)
    command = program()
    kills = 0
    for trial in range(2 if executor == "threads" else 1):
        again = command(tmp_path / f"run{trial}", executor)
        out, n = killed_until_done(again, whole * rng.uniform(0.5, 0.8), whole / 5)
        assert json.loads(out) == expected
        kills += n
    assert kills


def until_saved(folder, running):
    while running.poll() is None and not list(folder.glob("step-*")):
        time.sleep(0.01)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", None)])
def test_a_signal_lets_the_batch_end_saves_and_ends_the_program(
    program, undisturbed, tmp_path, name, status
):
    command, folder = program(pause=0.05), tmp_path / "run"
    with started(command(folder)) as running:
        until_saved(folder, running)
        os.kill(running.pid, getattr(signal, name))
        out, err = running.communicate(timeout=60)
    assert out == ""
    if status is None:
        assert "KeyboardInterrupt" in err
    else:
        assert running.returncode == status, err
    saved = max(int(path.name[5:]) for path in folder.glob("step-*"))
    again = finished(command(folder))
    assert f"resumed at step {saved} of run" in again.stderr
    assert json.loads(again.stdout) == undisturbed[0]


def test_a_second_signal_kills(program, tmp_path):
    command, folder = program(pause=0.05), tmp_path / "run"
    with started(command(folder)) as running:
        until_saved(folder, running)
        os.kill(running.pid, signal.SIGTERM)
        while running.poll() is None:  # while the batch comes to its end, at the latest behind it
            os.kill(running.pid, signal.SIGTERM)
    assert running.returncode in (-signal.SIGTERM, 143)


@pytest.mark.soak
def test_killed_150_times_it_ends_in_the_same_bits(program, tmp_path):
    command = program()
    expected = json.loads(finished(command()).stdout)
    kills, trial, rng = 0, 0, random.Random(1)
    while kills < 150:
        trial += 1
        again = command(tmp_path / str(trial), rng.choice(["threads", "processes"]))
        out, n = killed_until_done(again, rng.uniform(0.2, 0.6), 0.03)
        assert json.loads(out) == expected
        kills += n


FORKING = (
    JOB.replace("PAUSE", "0")
    + """
def forked(seconds, file, **saving):
    # Fork a process for the job; kill it after a while. Return whether it was killed.
    pid = os.fork()
    if not pid:
        status = 1
        try:
            done = job(**saving)
            with open(file, "w") as stream:
                stream.write(done)
            status = 0
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.0005)
    if ended == (0, 0):
        os.kill(pid, signal.SIGKILL)
        ended = os.waitpid(pid, 0)
    if os.WIFEXITED(ended[1]):
        assert ended[1] == 0, "the job failed"
    return os.WIFSIGNALED(ended[1])

folder, n_kills = sys.argv[1], int(sys.argv[2])
began = time.monotonic()
assert not forked(60, f"{folder}/whole")
whole, rng = time.monotonic() - began, random.Random(1)
want, kills, trial = open(f"{folder}/whole").read(), 0, 0
while kills < n_kills:
    trial += 1
    result, more = f"{folder}/result{trial}", 0.0
    saving = Checkpoint(f"{folder}/run{trial}", every_n_batches=rng.choice([1, 2, 5]))
    while not os.path.exists(result):
        kills += forked(whole * rng.uniform(0.02, 0.5) + more, result, checkpoint=saving)
        more += whole / 20
    assert open(result).read() == want, (trial, kills)
print(kills)
"""
)


def test_killed_30_times_at_any_moment_it_ends_in_the_same_bits(tmp_path):
    command = [sys.executable, "-c", FORKING, str(tmp_path), "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 30
