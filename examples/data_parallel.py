"""Two devices train one Keras model, fed by one prefetched pipeline.

    pip install '.[jax,examples]'    # in a checkout
    python examples/data_parallel.py

On a machine with several accelerators set XLA_FLAGS="": without it, the CPU stands for two devices.

Keras's `DataParallel` keeps a copy of the weights on each device, gives each its part of every
batch, and averages the gradients. It is a setting of the thread that sets it: the model is made and
trained in the thread that runs the pipeline, and the workers know nothing of it. The same training
on one device follows, for comparison.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import keras
import numpy as np
from sklearn.datasets import load_digits

from batchflow import ArrayBatch, B, Dataset, V, action

BATCH_SIZE, N_EPOCHS = 64, 15


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def shift(self):
        """Move each image by up to one pixel."""
        places = self.rng.integers(-1, 2, size=(len(self), 2))
        pairs = zip(self.images, places, strict=True)
        self.images = np.stack([np.roll(image, place, (0, 1)) for image, place in pairs])
        return self


def make_net():
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def train(distribution):
    """Train a model under a distribution. Gives the model and its losses."""
    digits = load_digits()
    images = (digits.images / 16).astype("float32")
    train_part, _, test_part = Dataset.from_arrays(
        Digits, images=images, labels=digits.target
    ).split(0.8, test=0.2, shuffle=0)
    keras.distribution.set_distribution(distribution)
    try:
        training = (
            train_part.p.init_variable("losses", init=list)
            .init_model("net", make_net)
            .shift()
            .train_model("net", B.images, B.labels, save_to=V("losses", mode="a"))
            .run(BATCH_SIZE, shuffle=1, n_epochs=N_EPOCHS, drop_last=True, prefetch=4)
        )
        net = training.m("net")
        test = test_part.create_batch(test_part.indices)
        accuracy = float(np.mean(net.predict_on_batch(test.images).argmax(1) == test.labels))
    finally:
        keras.distribution.set_distribution(None)
    return net, [float(loss) for loss in training.v("losses")], accuracy


def main():
    devices = keras.distribution.list_devices()
    parallel, losses, accuracy = train(keras.distribution.DataParallel(devices=devices))
    alone, losses_alone, _ = train(None)
    difference = max(
        float(np.abs(a - b).max())
        for a, b in zip(parallel.get_weights(), alone.get_weights(), strict=True)
    )
    print(f"devices: {', '.join(devices)}")
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, test accuracy {accuracy:.1%}")
    print(f"largest difference from the weights of one device: {difference:.1e}")
    print(f"largest difference of a loss: {max(map(abs, np.subtract(losses, losses_alone))):.1e}")


if __name__ == "__main__":
    main()
