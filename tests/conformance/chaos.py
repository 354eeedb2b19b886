"""Workers that die: at their work, by their own hand; and at any time, by somebody else's."""

import os
import random
import signal
import threading
from pathlib import Path

import numpy as np

from batchflow import B

from .chains import make_dataset, with_history


class Murders:
    """Lets workers die: `at` some batches, each once; and from outside.

    Args:
        folder: Where workers leave who they are.
        numbers: Of the batches.
    """

    def __init__(self, folder, numbers=()):
        self.folder = Path(folder)
        for number in numbers:
            (self.folder / f"kill-{number}").touch()

    def in_worker(self, number):
        """Tell who this is; die if it is time."""
        (self.folder / f"worker-{os.getpid()}").write_text(started(os.getpid()))
        token = self.folder / f"kill-{number}"
        try:
            token.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def from_outside(self, rng):
        """Kill some worker, if one is there. Returns whether it has been done."""
        workers = sorted(self.folder.glob("worker-*"))
        rng.shuffle(workers)
        for path in workers:
            process = int(path.name.removeprefix("worker-"))
            if path.read_text() and path.read_text() == started(process):  # nobody else has its id
                os.kill(process, signal.SIGKILL)
                return True
        return False


def started(process):
    """When a process began, which with its number says which one it is; empty if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def training_with(in_worker, n_items=100):
    """A chain with random augmentation, ordered training, and a step in which workers may die."""

    chain = make_dataset(n_items).p.augment().call(in_worker, B.number)
    pipeline = with_history(chain.jitter().augment()).train()
    return pipeline, [pipeline]


class Assassin:
    """Kills workers from outside, at random times, while a run lasts."""

    def __init__(self, murders, seed, most=1):
        self._murders = murders
        self._rng = random.Random(seed)
        self._left = most
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.n_killed = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._is_over.set()
        self._thread.join()

    def _work(self):
        while self.n_killed < self._left:
            if self._is_over.wait(self._rng.random() * 0.1):
                return
            self.n_killed += self._murders.from_outside(self._rng)


def some_numbers(seed, n_batches, n_murders):
    return np.random.default_rng(seed).choice(n_batches, n_murders, replace=False).tolist()
