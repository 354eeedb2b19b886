"""The main job: train a network on handwritten digits through a prefetched pipeline.

Reads scikit-learn's 1,797 digits (8 x 8 pixels), shifts each image at random, trains a small
convolutional network with Keras, tests it between epochs through a second pipeline on the same
model, and proves that the order of training does not depend on the parallelism: with nothing
prefetched and with four batches ahead, the weights come out the same to the last bit.

    python examples/digits.py
"""

import hashlib
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from batchflow import ArrayBatch, Dataset, Pipeline, action, model

N_EPOCHS = 20
PICTURE = Path(__file__).with_name("digits_learning_curve.png")


class Digits(ArrayBatch):
    components = "images", "labels"

    @model()
    def classifier():
        keras.utils.set_random_seed(7)
        layers = keras.layers
        network = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(32, 3, padding="same", activation="relu"),
                layers.Conv2D(64, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dropout(0.25),
                layers.Dense(64, activation="relu"),
                layers.Dense(10, activation="softmax"),
            ]
        )
        network.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        return network

    @action
    def scale(self, factor):
        self.images = (self.images / factor).astype("float32")[..., np.newaxis]
        return self

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

    @action(model="classifier", singleton=True)
    def train(self, network):
        loss = network.train_on_batch(self.images, self.labels)
        self.pipeline.v("loss").append(float(loss))
        return self

    @action(model="classifier", singleton=True)
    def test(self, network):
        predicted = network.predict_on_batch(self.images).argmax(axis=1)
        self.pipeline.v("hits").extend(predicted == self.labels)
        return self


def digest(network):
    """A fingerprint of all weights, to the last bit."""
    return hashlib.sha256(b"".join(w.tobytes() for w in network.get_weights())).hexdigest()[:16]


def main():
    digits = load_digits()
    dataset = Dataset.from_arrays(Digits, images=digits.images, labels=digits.target)
    data = dataset.split(0.8, shuffle=1)

    preprocessing = Pipeline().scale(16)
    training = (data.train >> preprocessing).shift(most=1).init_variable("loss", init=list).train()
    testing = (data.test >> preprocessing).init_variable("hits", init_on_each_run=list).test()
    print(training, end="\n\n")

    def accuracy():
        return float(np.mean(testing.run(batch_size=120, prefetch=2).v("hits")))

    # Training, with a test after each epoch.
    start = time.perf_counter()
    curve = []
    with training.gen_batch(64, shuffle=42, n_epochs=N_EPOCHS, prefetch=4, bar=True) as batches:
        for epoch in batches.epochs():
            for _ in epoch:
                pass  # the model is trained
            curve.append(accuracy())
    result = accuracy()
    print(f"\ntest accuracy {result:.2%} after {N_EPOCHS} epochs", end=" ")
    print(f"({time.perf_counter() - start:.0f} s, seed {batches.seed})")
    draw(training.v("loss"), curve)

    # One answer: the same training with nothing prefetched, and with four batches ahead.
    digests = {}
    for prefetch in (0, 4):
        Digits.models.reset("classifier")
        training.run(64, shuffle=42, n_epochs=3, prefetch=prefetch)
        digests[prefetch] = digest(Digits.models["classifier"])
        print(f"weights after 3 epochs with prefetch={prefetch}: {digests[prefetch]}")
    if len(set(digests.values())) > 1:
        raise SystemExit("the weights differ: this must not happen")
    print("the same to the last bit")
    if result < 0.97:
        raise SystemExit(f"the accuracy is {result:.2%}, expected 97 % or more")


def draw(losses, accuracies):
    """Draw the learning curve."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.plot(losses, linewidth=0.8)
    left.set(xlabel="batch", ylabel="training loss", yscale="log")
    right.plot(range(1, len(accuracies) + 1), accuracies, marker=".")
    right.set(xlabel="epoch", ylabel="test accuracy", ylim=(0.8, 1.0))
    right.grid(alpha=0.3)
    plt.savefig(PICTURE, dpi=120)
    print(f"learning curve: {PICTURE}")


if __name__ == "__main__":
    main()
