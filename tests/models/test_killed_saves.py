"""`kill -9` in the middle of a save: the file is always whole, and training goes on exactly."""

import json
import os
import signal
import time

import numpy as np
import pytest

from batchflow.models.checkpoint import load
from batchflow.testing import digest

SAVE_PLAIN = """
import sys
import numpy as np
from batchflow.models.checkpoint import save
for k in range(10**9):
    save({"k": k, "data": np.full(500_000, float(k))}, sys.argv[1])
    print(k, flush=True)
"""


@pytest.mark.parametrize("kill", range(8))
def test_a_killed_save_of_any_object_leaves_a_whole_file(started, tmp_path, kill):
    file, delay = tmp_path / "file", np.random.default_rng(kill).uniform(0, 0.15)
    saving = started(["-c", SAVE_PLAIN, file], stderr=None)
    first = saving.stdout.readline()
    time.sleep(delay)
    saving.send_signal(signal.SIGKILL)
    announced = [first, *saving.stdout.read().split()]
    model, last = load(file, trust=True), int(announced[-1])
    assert model["k"] in (last, last + 1)  # the kill may come before the print
    assert (model["data"] == model["k"]).all()


# Training with Dropout, in a process of its own. With kills: this process imports Keras, and forks
# trainers. Each goes on from the file, and is killed at a random moment of its second save.
TRAINING = """
import itertools, json, os, random, signal, sys, time, zipfile
import keras
import numpy as np
from batchflow import ArrayBatch, Dataset, action
from batchflow.models.checkpoint import load, save

class Rows(ArrayBatch):
    components = "x"

    @action
    def add_noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
        return self

def make_net():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    net = keras.Sequential([keras.Input((40,)), layers.Dense(1000), layers.Dropout(0.5, seed=1)])
    net.add(layers.Dense(60))
    net.add(layers.Dropout(0.3, seed=2))
    net.add(layers.Dense(1))
    net.compile("adam", "mse", run_eagerly=True)  # a trace would cost each process a second
    return net

def train(file, last, tell):
    net = make_net()
    if os.path.exists(file):
        load(file, into=net)
    first = int(net.optimizer.iterations)
    x = np.random.default_rng(0).normal(size=(64, 40))
    batches = Dataset.from_arrays(Rows, x=x).p.add_noise().gen_batch(8, shuffle=1, n_epochs=None)
    for batch in itertools.islice(batches, first, last):
        net.train_on_batch(batch.x, batch.x[:, :1])
        tell(int(net.optimizer.iterations))
        save(net, file)

def step_of(file):
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
    with np.load(file, allow_pickle=False) as arrays:
        (name,) = (name for name in arrays if name.endswith("/iteration"))
        return int(arrays[name])

def kill_one(file, delay):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        train(file, 10**9, lambda step: os.write(write, b"%d\\n" % step))
    os.close(write)
    with open(read) as told:
        first, second = int(told.readline()), int(told.readline())  # now it saves for a second time
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        steps = [first, second, *map(int, told)]
    os.waitpid(child, 0)
    return steps[-1], step_of(file)

file, last, n_kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
delays = np.random.default_rng(0).uniform(0, 0.008, n_kills)
print(json.dumps([kill_one(file, delay) for delay in delays]), flush=True)
for file in [file, *sys.argv[4:]] * bool(last):  # each in a process of its own
    child = os.fork()
    if not child:
        train(file, last, lambda step: None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def start(started):
    def start(file, last, n_kills, *others):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        return started(["-c", TRAINING, file, last, n_kills, *others], stderr=None, env=environment)

    return start


def told_by(process):
    told, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return json.loads(told.splitlines()[-1])


@pytest.mark.tensorflow
def test_fifty_kills_in_a_save_lose_no_file_and_no_bit(start, tmp_path):
    keras = pytest.importorskip("keras")
    if keras.backend.backend() == "jax":
        pytest.skip("a process that has imported JAX cannot be forked")
    file, undisturbed = tmp_path / "net.npz", tmp_path / "undisturbed.npz"
    kills = told_by(start(file, last=0, n_kills=50))
    for told, found in kills:
        assert found in (told - 1, told)  # the save that was cut short, or had just been done
    left = [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    assert len(left) >= 5, "the kills did not come in the middle of saves"
    # What is left goes on in a new process, as if nothing had happened.
    last = kills[-1][1] + 5
    told_by(start(file, last, 0, undisturbed))
    assert digest(file.read_bytes()) == digest(undisturbed.read_bytes())
    assert last > 50
