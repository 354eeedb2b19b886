"""A model function, stopped in the middle and gone on with, on handwritten digits.

Describes a small convolutional network as a `Classifier`, gives it to an `Estimator`, and trains it
on scikit-learn's 1,797 digits (8 x 8 pixels) through a feed that makes its batches ahead. A first
process trains half of the steps and ends. A second one, which knows nothing but the folder, goes on
to the end; this one, in another folder, trains all steps at once: the weights are the same to the
last bit. Then the model is evaluated, asked, exported, and loaded by TensorFlow alone, which gives
the same predictions.

    python examples/estimator_digits.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from batchflow import ArrayBatch, B, Dataset, action
from batchflow.models import Classifier, Estimator, RunConfig, ServingInputReceiver
from batchflow.testing import digest

N_STEPS = 460  # 20 epochs of 23 batches


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def shift(self, most):
        """Move each image by up to `most` pixels in both directions."""
        moves = self.rng.integers(-most, most + 1, size=(len(self), 2))
        padded = np.pad(self.images, ((0, 0), (most, most), (most, most), (0, 0)))
        size = self.images.shape[1]
        self.images = np.stack(
            [
                image[most + y : most + y + size, most + x : most + x + size]
                for image, (y, x) in zip(padded, moves, strict=True)
            ]
        )
        return self


def load_data():
    digits = load_digits()
    images = (digits.images / 16).astype("float32")[..., np.newaxis]
    return Dataset.from_arrays(Digits, images=images, labels=digits.target).split(0.8, shuffle=1)


# ---- the model


def network(mode, features):
    """The graph: it is built once per mode, of symbolic tensors."""
    print(f"building the graph for {mode}")
    layers = keras.layers
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(features["images"])
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    x = layers.Dense(64, activation="relu")(layers.Dropout(0.25)(x))
    return layers.Dense(10, activation="softmax")(x)


def model_fn(features, labels, mode, params, config):
    model = Classifier(
        mode,
        network,
        loss="sparse_categorical_crossentropy",
        optimizer={
            "class_name": "Adam",
            "config": {
                "learning_rate": params["learning_rate"],
                "decay_type": "exponential_decay",
                "decay_steps": N_STEPS,
                "decay_rate": 0.5,
            },
        },
        metrics=["accuracy"],
        summaries=["loss", "learning_rate"],
        clip_gradients=5.0,
    )
    return model(features, labels, params, config)


def make_estimator(folder):
    config = RunConfig(save_checkpoints_steps=100, save_summary_steps=20)
    return Estimator(model_fn, folder, config, params={"learning_rate": 2e-3})


# ---- its input


def training_input():
    """Batches for ever, always the same ones: four of them are made ahead."""
    pipeline = load_data().train.p.shift(most=1)
    return pipeline.feed(
        64, {"images": B.images}, B.labels, shuffle=42, seed=7, n_epochs=None, prefetch=4
    )


def testing_input():
    return load_data().test.p.feed(120, {"images": B.images}, B.labels, prefetch=2)


def train(folder, max_steps):
    """Train in this process; the folder says where to go on."""
    estimator = make_estimator(folder)
    start = time.perf_counter()
    estimator.train(training_input, max_steps=max_steps)
    step = estimator.get_variable_value("global_step")
    print(
        f"{Path(folder).name}: at step {step} after {time.perf_counter() - start:.0f} s", flush=True
    )


def train_in_a_process(folder, max_steps):
    subprocess.run([sys.executable, __file__, str(folder), str(max_steps)], check=True)


def fingerprint(estimator):
    return digest(*[estimator.get_variable_value(n) for n in estimator.get_variable_names()])[:16]


def main():
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))


def run(folder):
    # Stopped and gone on with, in two processes; and in one go.
    train_in_a_process(folder / "stopped", N_STEPS // 2)
    train_in_a_process(folder / "stopped", N_STEPS)
    train(folder / "in_one_go", N_STEPS)
    estimator = make_estimator(folder / "stopped")
    prints = {fingerprint(estimator), fingerprint(make_estimator(folder / "in_one_go"))}
    print("weights, optimizer and step:", " and ".join(prints))
    if len(prints) > 1:
        raise SystemExit("the weights differ: this must not happen")
    print("the same to the last bit")

    # Evaluated.
    results = estimator.evaluate(testing_input)
    print(f"test accuracy {results['accuracy']:.2%}, loss {results['loss']:.4f}", end=" ")
    print(f"at step {results['global_step']}")

    # Asked, item by item.
    predicted = [item["results"] for item in estimator.predict(testing_input)]
    first = [int(shares.argmax()) for shares in predicted[:10]]
    labels = np.concatenate([labels for _, labels in testing_input()])
    print(f"the first ten predictions {first}, labels {labels[:10].tolist()}")

    # Exported, and loaded by TensorFlow alone.
    def receiver():
        pixels = keras.Input((8, 8, 1), name="pixels")  # as they come: from 0 to 16
        return ServingInputReceiver({"images": pixels / 16.0}, {"pixels": pixels})

    path = estimator.export_savedmodel(folder / "exports", receiver)
    serve = tf.saved_model.load(path).signatures["serving_default"]
    pixels = np.concatenate([features["images"] for features, _ in testing_input()]) * 16
    served = serve(pixels=tf.constant(pixels))["results"].numpy()
    difference = float(np.abs(served - np.stack(predicted)).max())
    print(f"the SavedModel gives the same {len(served)} predictions, up to {difference:.1g}")
    if difference > 1e-5:
        raise SystemExit("the SavedModel predicts something else")
    if results["accuracy"] < 0.97:
        raise SystemExit(f"the accuracy is {results['accuracy']:.2%}, expected 97 % or more")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(sys.argv[1], int(sys.argv[2]))
    else:
        main()
