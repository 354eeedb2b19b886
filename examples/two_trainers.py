"""Two trainers share each epoch: Ray actors, each with a pipeline and a Keras model of its own.

    pip install '.[ray,tensorflow-cpu,examples]'    # in a checkout
    python examples/two_trainers.py

Each trainer reads its shard of the digits (`dataset.shard`): no item twice in an epoch, all of them
in both together, dealt out anew for each. After every epoch the weights of both are averaged. The
data is read by each trainer for itself; what travels between them are weights.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import ray
from sklearn.datasets import load_digits

from batchflow import ArrayBatch, B, Dataset, V, action

N_TRAINERS, BATCH_SIZE, N_EPOCHS, SEED = 2, 32, 12, 7


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def add_noise(self):
        noise = self.rng.normal(0, 0.05, self.images.shape)
        self.images = (self.images + noise).astype("float32")
        return self


def read_digits():
    """Give the part to train on and the part to test with."""
    digits = load_digits()
    images = (digits.images / 16).astype("float32")
    dataset = Dataset.from_arrays(Digits, images=images, labels=digits.target)
    split = dataset.split(0.8, test=0.2, shuffle=0)
    return split.train, split.test


def make_net():
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(10, "softmax"),
        ]
    )
    net.compile("adam", "sparse_categorical_crossentropy")
    return net


@ray.remote(num_cpus=1)
class Trainer:
    """One of the trainers."""

    def __init__(self, number):
        train, test = read_digits()
        self.test = test.create_batch(test.indices)
        self.pipeline = (
            train.shard(number, N_TRAINERS, equal=True)
            .p.init_model("net", make_net)
            .init_variable("losses", init=list)
            .init_variable("seen", init=list)
            .add_noise()
            .train_model("net", B.images, B.labels, save_to=V("losses", mode="a"))
            .update(V("seen", mode="e"), B.indices.tolist())
        )

    def train_epoch(self):
        """Train for the next epoch of the run that this trainer keeps open."""
        self.pipeline.set_variable("seen", [])
        for _ in range(len(self.pipeline.dataset) // BATCH_SIZE):
            self.pipeline.next_batch(
                BATCH_SIZE, shuffle=True, seed=SEED, drop_last=True, prefetch=2
            )
        losses = self.pipeline.v("losses")
        weights = self.pipeline.m("net").get_weights()
        return weights, float(losses[-1]), self.pipeline.v("seen")

    def set_weights(self, weights):
        """Take the weights of all."""
        self.pipeline.m("net").set_weights(weights)

    def accuracy(self):
        """Give the share of test images that are recognised."""
        predicted = self.pipeline.m("net").predict_on_batch(self.test.images).argmax(1)
        return float(np.mean(predicted == self.test.labels))


def main():
    ray.init(
        num_cpus=N_TRAINERS,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        runtime_env={"env_vars": {"KERAS_BACKEND": os.environ["KERAS_BACKEND"]}},
    )
    try:
        trainers = [Trainer.remote(number) for number in range(N_TRAINERS)]
        for epoch in range(N_EPOCHS):
            told = ray.get([trainer.train_epoch.remote() for trainer in trainers])
            weights, losses, seen = zip(*told, strict=True)
            both = set(seen[0]) & set(seen[1])
            mean = [np.mean(layer, axis=0) for layer in zip(*weights, strict=True)]
            ray.get([trainer.set_weights.remote(mean) for trainer in trainers])
            n_seen = sum(map(len, seen))
            print(f"epoch {epoch}: losses {losses}, {n_seen} items, {len(both)} seen by both")
        accuracies = ray.get([trainer.accuracy.remote() for trainer in trainers])
        print(f"test accuracy {accuracies[0]:.1%}, of both the same: {len(set(accuracies)) == 1}")
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
