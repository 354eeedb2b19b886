"""What does it cost to save a run?

A model of 50 MB is trained: a millisecond of arithmetic for each batch. It is arrays, and, where
torch is installed, a `TorchModel` with Adam, too.

    python benchmarks/checkpoints.py

- `every_100_batches: held_to_copies`, `torch_every_100_batches`: the seconds for which training
  stands still at a save, of those that a copy of the arrays takes, which is kept for a while, too;
  the checkpoint on the disk included in neither. Both are CPU time of the thread that trains: on a
  busy machine it compares, and clocks do not. A copy into memory that the process has not used yet
  takes three times as long as another, and either may meet it: read the medians of several runs.
- `overhead_0.01: share`: the CPU time of its saves, on all threads, of the time that a run lasts.
  Required: at most 0.01 (a run of `SECONDS` or more). `n_saved` is how often it was saved; what a
  save costs is told by a short run with many, as two long runs differ by 1 % without any.
"""

import statistics
import sys
import tempfile
import time

import numpy as np
from measure import report, spread

from batchflow import ArrayBatch, Checkpoint, Dataset, Keep, action, model
from batchflow.checkpoints.store import found

try:
    import torch
except ModuleNotFoundError:
    torch = None

PARTS, SIDE = 8, 1280  # 8 arrays of 1280 x 1280 float32: 52 MB
N_SAVES, ROUNDS = 7, 3
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0


class Rows(ArrayBatch):
    @model()
    def net():
        rng = np.random.default_rng(0)
        return {f"w{part}": rng.random((SIDE, SIDE), np.float32) for part in range(PARTS)}

    @action(model="net", singleton=True)
    def train(self, net):
        end = time.thread_time() + 0.001
        row = self.number % SIDE
        while time.thread_time() < end:
            for w in net.values():
                w[row] *= 0.999
        return self

    @model()
    def torch_net():
        from batchflow.models import TorchModel

        torch.set_num_threads(1)  # of one thread is its time
        layers = [torch.nn.Linear(1024, 1024) for _ in range(4)]
        net = TorchModel(torch.nn.Sequential(*layers), "adam", "mse_loss")
        net.train_on_batch(np.zeros((1, 1024), "float32"), np.zeros((1, 1024), "float32"))
        return net

    @action(model="torch_net", singleton=True)
    def train_torch(self, net):
        end = time.thread_time() + 0.001
        row = self.number % 1024
        with torch.no_grad():
            while time.thread_time() < end:
                for layer in net.module:
                    layer.weight[row] *= 0.999
        return self


def training():
    return Dataset(1000, Rows).p.train()


def copy_arrays():
    return [w.copy() for w in Rows.models["net"].values()]


def copy_tensors():
    net = Rows.models["torch_net"]
    moments = [one for state in net.optimizer.state.values() for one in state.values()]
    return [one.detach().clone() for one in (*net.module.parameters(), *moments)]


def held(pipeline, copies_of):
    """Return what each save holds training up, and what a copy of the arrays takes."""
    saving, seconds, copies = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        state = Checkpoint(folder, every_n_batches=100)
        options = {"n_epochs": None, "n_iters": 100 * N_SAVES + 2, "checkpoint": state}
        with pipeline.gen_batch(1, **options) as run:
            began = time.thread_time()
            for place, _ in enumerate(run):
                took = time.thread_time() - began
                (saving if place and place % 100 == 0 else seconds).append(took)
                if place % 100 == 50:
                    began = time.thread_time()
                    kept = copies_of()  # so that the next copy of either kind gets other memory
                    copies.append(time.thread_time() - began)
                if place % 100 == 90:
                    kept.clear()
                began = time.thread_time()
    plain = statistics.median(seconds)
    return [(save - plain) / copy for save, copy in zip(saving, copies, strict=False)], copies


def took(n_batches, **saving):
    """Train; return the seconds of CPU and those on the clock."""
    cpu, clock = time.process_time(), time.monotonic()
    training().run(1, n_epochs=None, n_iters=n_batches, **saving)
    return time.process_time() - cpu, time.monotonic() - clock


def share(n_batches):
    """Return the share of a run's time that saving takes, and how often it was saved."""
    with tempfile.TemporaryDirectory() as folder:
        often = {"checkpoint": Checkpoint(folder, every_n_batches=100, keep=Keep(last=2))}
        a_save = (took(100 * N_SAVES, **often)[0] - took(100 * N_SAVES)[0]) / N_SAVES
    with tempfile.TemporaryDirectory() as folder:
        state = Checkpoint(folder, overhead=0.01, keep=Keep(last=10_000))
        _, clock = took(n_batches, checkpoint=state)
        n_saved = len(list(found(folder)))
        return n_saved * a_save / clock, n_saved


def figures(ratio, copies):
    milliseconds = round(statistics.median(copies) * 1e3, 1)
    return {"held_to_copies": spread(ratio), "milliseconds_of_a_copy": milliseconds}


if __name__ == "__main__":
    every_100 = {"every_100_batches": figures(*held(training(), copy_arrays))}
    if torch is not None:
        of_torch = held(Dataset(1000, Rows).p.train_torch(), copy_tensors)
        every_100["torch_every_100_batches"] = figures(*of_torch)
    per_batch = took(1000)[0] / 1000
    shares, n_saved = zip(*(share(int(SECONDS / per_batch)) for _ in range(ROUNDS)), strict=True)
    report(
        "checkpoints",
        **{
            **every_100,
            "overhead_0.01": {"share": spread(shares), "n_saved": n_saved},
        },
    )
