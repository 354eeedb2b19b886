"""What does work per item in worker processes cost, and how many bytes travel for it?

Batches of 64 items go through one action with `target="processes"`, by `Dataset ... gen_batch`.
The cases differ in what the function reads: a component of the batch, an item of it, a variable of
the pipeline, nothing, a small component of a batch of 64 MB; or whatever a helper may read that it
passes the batch to (`all`). Two trees of the package can take turns, each in a process of its own:

    python benchmarks/items_processes.py [--against OTHER_TREE]

Read `milliseconds_per_batch`, and `to_the_other`: the time of this tree by that of the other, round
by round; below 1 is faster. `bytes_per_batch`: what this process has sent to its workers.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from measure import ratios, report, spread

ROUNDS, N_BATCHES, N_ITEMS = 11, 20, 64


def helper(batch, item_id):
    return float(batch.labels[item_id % N_ITEMS])


def chains():
    """Return the pipelines of the cases."""
    from batchflow import ArrayBatch, Dataset, action
    from batchflow.batch import inbatch_parallel

    def case(init):
        return inbatch_parallel(init, post="keep", target="processes")

    class Rows(ArrayBatch):
        components = "images", "labels"

        @action
        @case("indices")
        def component(self, item_id):
            return float(self.images[item_id % N_ITEMS].sum())

        @action
        @case("indices")
        def item(self, item_id):
            return float(self[item_id].images.sum())

        @action
        @case("images")
        def variable(self, image):
            return float(image.sum()) * self.pipeline.v("scale")

        @action
        @case("images")
        def random(self, image):
            return float(image.sum()) + self.rng.normal()

        @action
        @case("images")
        def nothing(self, image):
            return float(image.sum())

        @action
        @case("indices")
        def small(self, item_id):
            return float(self.labels[item_id % N_ITEMS])

        @action
        @case("indices")
        def all(self, item_id):
            return helper(self, item_id)

        @action
        @case("images")
        def arrays(self, image):
            return image + 1

        def keep(self, results):
            self.labels = [r if isinstance(r, float) else 0.0 for r in results]
            return self

    def pipeline(side):
        images = np.zeros((N_ITEMS, side, side), "f4")
        labels = np.zeros(N_ITEMS, "f4")
        dataset = Dataset.from_arrays(Rows, images=images, labels=labels)
        return dataset.p.init_variable("scale", 2.0)

    one, big = pipeline(64), pipeline(512)
    return {
        "component": one.component(),
        "item": one.item(),
        "variable": one.variable(),
        "random": one.random(),
        "nothing": one.nothing(),
        "arrays": one.arrays(),
        "all": one.all(),
        "small_of_64_MB": big.small(),
        "component_of_64_MB": big.component(),
    }


def serve():
    """Run the cases whose names come in; write how long they took and how much was sent."""
    sent = count_bytes()
    cases = chains()
    for line in sys.stdin:
        n_batches = N_BATCHES // 4 if "64" in line else N_BATCHES
        sent.clear()
        start = time.perf_counter()
        for _ in cases[line.strip()].gen_batch(N_ITEMS, n_epochs=n_batches):
            pass
        seconds = (time.perf_counter() - start) / n_batches
        print(json.dumps([seconds, sum(sent) // n_batches]), flush=True)


def count_bytes():
    """Count what this process sends through sockets and writes into shared memory."""
    sent = []

    def counted(function):
        def call(*args):
            n_bytes = function(*args)
            sent.append(n_bytes)
            return n_bytes

        return call

    os.pwrite = counted(os.pwrite)
    socket.socket.send = counted(socket.socket.send)
    socket.socket.sendmsg = counted(socket.socket.sendmsg)
    return sent


class Tree:
    """A tree of the package, in a process of its own."""

    def __init__(self, path):
        command = [sys.executable, __file__, "--serve"]
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, case):
        print(case, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def main(against):
    trees = {"here": Tree(Path(__file__).parents[1])}
    if against is not None:
        trees["other"] = Tree(against)
    figures = {"milliseconds_per_batch": {}, "bytes_per_batch": {}, "to_the_other": {}}
    for case in chains():
        calls = {name: lambda tree=tree: tree.run(case) for name, tree in trees.items()}  # noqa: B023
        told = {name: [] for name in trees}
        for call in calls.values():
            call()
        for k in range(ROUNDS):
            for name in [*calls] if k % 2 else [*calls][::-1]:
                told[name].append(calls[name]())
        seconds = {name: [one[0] for one in every] for name, every in told.items()}
        figures["milliseconds_per_batch"][case] = {
            name: spread([1e3 * s for s in every]) for name, every in seconds.items()
        }
        figures["bytes_per_batch"][case] = {name: every[-1][1] for name, every in told.items()}
        if against is not None:
            figures["to_the_other"][case] = ratios(seconds, "other")["here"]
    for tree in trees.values():
        tree.close()
    report("items_processes", **figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", help="the folder of another tree of the package")
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
    else:
        main(arguments.against)
