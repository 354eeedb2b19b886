"""What does an Estimator cost in a chain, beside a Keras model of the same layers?

The same chains with both: `train_model`; with `predict_model` behind it, which asks the program
that has just done a step; and with `evaluate_model` behind it. An Estimator's loss, labels and
clipping are parts of its graph, and its prediction has a program of its own, which gets the weights
in memory.

    python benchmarks/estimator_chain.py

Read the medians of `times_keras`. Required of `train_and_predict`: at most 2.5. `files` are the
checkpoints that the chains have left: the last one of each run, and none for a batch.
"""

import os
import tempfile

import keras
import numpy as np
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, B, Dataset
from batchflow.models import Estimator, Regressor

N_ITEMS, SIZE, ROUNDS = 600, 10, 7


class Rows(ArrayBatch):
    components = "x", "y"


def layers(mode, features):  # noqa: ARG001  a graph function
    hidden = features
    for units in (16, 16):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    return keras.layers.Dense(1)(hidden)


def model_fn(features, labels, mode):
    return Regressor(mode, layers, "mse", "adam", summaries=None)(features, labels)


def keras_model():
    inputs = keras.Input((4,))
    net = keras.Model(inputs, layers("train", inputs))
    net.compile("adam", "mse")
    return net


def chains(model):
    x = np.random.default_rng(0).normal(size=(N_ITEMS, 4)).astype("float32")
    dataset = Dataset.from_arrays(Rows, x=x, y=x.sum(axis=1, keepdims=True))
    train = dataset.p.init_model("model", model).train_model("model", B.x, B.y)
    return {
        "train": train,
        "train_and_predict": train.predict_model("model", B.x, save_to=B.told),
        "train_and_evaluate": train.evaluate_model("model", B.x, B.y, save_to=B.scores),
    }


def main():
    folder = tempfile.mkdtemp()
    keras_chains, own_chains = chains(keras_model()), chains(Estimator(model_fn, folder))
    figures = {}
    for name, chain in own_chains.items():
        seconds, _ = interleaved(
            ROUNDS,
            keras=lambda name=name: keras_chains[name].run(SIZE),
            estimator=lambda chain=chain: chain.run(SIZE),
        )
        figures[name] = {
            "keras_milliseconds": round(min(seconds["keras"]) / (N_ITEMS / SIZE) * 1e3, 3),
            "times_keras": ratios(seconds, "keras")["estimator"],
        }
    report("estimator_chain", **figures, files=len(os.listdir(folder)))


if __name__ == "__main__":
    main()
