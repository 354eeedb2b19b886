"""Trains an Estimator through a prefetched feed, killed again and again; prints what is left.

    python killed.py <n_kills> <folder>

This process imports Keras and computes nothing. It forks trainers, each of which goes on in the
same folder, and kills each at a random moment of its training.
"""

import json
import os
import random
import signal
import sys
import time

import keras
import numpy as np

from batchflow import ArrayBatch, B, Dataset, action
from batchflow.models import Estimator, RunConfig
from batchflow.testing import digest

MAX_STEPS = 400  # more than 20 trainers do before they are killed, on any machine


class Pairs(ArrayBatch):
    components = "x", "y"

    @action
    def shake(self):
        self.x = self.x + self.rng.normal(size=self.x.shape).astype("float32") / 10
        return self


def feed():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 4)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    pipeline = Dataset.from_arrays(Pairs, x=x, y=y).p.shake()
    return pipeline.feed(8, B.x, B.y, shuffle=5, seed=6, n_epochs=None, prefetch=3)


def model_fn(features, labels, mode):
    from batchflow.models import Classifier

    def graph_fn(mode, features):
        hidden = keras.layers.Dense(16, activation="relu")(features)
        return keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.3)(hidden))

    sgd = {"class_name": "SGD", "config": {"learning_rate": 0.05, "momentum": 0.9}}
    loss = "sparse_categorical_crossentropy"
    model = Classifier(mode, graph_fn, loss, summaries="loss", optimizer=sgd)
    return model(features, labels)


def estimator(folder):
    return Estimator(model_fn, folder, RunConfig(save_checkpoints_steps=4, keep_checkpoint_max=2))


def trainer(folder):
    """Start a process that trains; give its id, and a pipe in which it tells of its first step."""
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)

        class Tell(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                os.write(tells, b".")
                time.sleep(0.001)

        try:
            estimator(folder).train(feed, max_steps=MAX_STEPS, hooks=[Tell()])
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(tells)
    return child, told


def train_through(folder, n_kills, seed):
    """Train to the end; give how many trainers were killed before it."""
    delays = random.Random(seed)
    killed = 0
    while True:
        child, told = trainer(folder)
        if killed < n_kills and os.read(told, 1):
            time.sleep(delays.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
        while os.read(told, 4096):
            pass
        os.close(told)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit("a trainer failed")
            return killed
        killed += 1


def result(folder):
    trained = estimator(folder)
    names = trained.get_variable_names()
    return {
        "step": int(trained.get_variable_value("global_step")),
        "digest": digest([trained.get_variable_value(name) for name in names]),
        "files": sorted(name for name in os.listdir(folder) if not name.startswith("events")),
    }


def main():
    n_kills, folder = int(sys.argv[1]), sys.argv[2]
    undisturbed, disturbed = f"{folder}/undisturbed", f"{folder}/disturbed"
    train_through(undisturbed, 0, 0)
    n_killed = train_through(disturbed, n_kills, n_kills)
    results = {"undisturbed": result(undisturbed), "disturbed": result(disturbed)}
    sys.stdout.write(json.dumps({**results, "n_killed": n_killed}) + "\n")


if __name__ == "__main__":
    main()
