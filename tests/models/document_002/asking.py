"""Descriptors that learn the digits, and an action that puts a question to one of them."""

import functools

import numpy as np
from sklearn.datasets import load_digits

from batchflow import ArrayBatch, Dataset, V, action

N_ITEMS = 128


@functools.cache
def import_keras():
    import keras

    return keras


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def scale(self):
        self.images = self.images / np.float32(16)
        return self

    @action(model="net", singleton=True)
    def ask(self, net, question):
        return question(net, self.images, self.labels)


@functools.cache
def digits():
    images, labels = load_digits(return_X_y=True)
    images = images[:N_ITEMS].astype("float32")
    return Dataset.from_arrays(Digits, images=images, labels=labels[:N_ITEMS])


def build(keras=None, **options):
    """Make a classifier of digits. `keras` is the package that it is made with."""
    keras = keras or import_keras()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((64,), name="image")
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
    outputs = keras.layers.Dense(10, activation="softmax", name="digit")(hidden)
    net = keras.Model(inputs=inputs, outputs=outputs, name="net")
    settings = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **options}
    net.compile(settings.pop("optimizer", None) or keras.optimizers.SGD(0.1), **settings)
    return net


def build_eager():
    """Make one that nothing is traced for: most of the time of a short loop is that of tracing."""
    return build(run_eagerly=True)


def build_two(keras=None, **options):
    """Make a model of the two halves of an image, that gives the digit and whether it is odd."""
    keras = keras or import_keras()
    keras.utils.set_random_seed(1)
    upper, lower = keras.Input((32,), name="upper"), keras.Input((32,), name="lower")
    both = keras.layers.concatenate([upper, lower])
    digit = keras.layers.Dense(10, activation="softmax", name="digit")(both)
    odd = keras.layers.Dense(1, activation="sigmoid", name="odd")(both)
    net = keras.Model([upper, lower], [digit, odd], name="two")
    losses = {"digit": "sparse_categorical_crossentropy", "odd": "binary_crossentropy"}
    net.compile(keras.optimizers.SGD(0.1), **{"loss": losses, **options})
    return net


def build_eager_two():
    return build_two(run_eagerly=True)


def halves(x):
    return x[:, :32], x[:, 32:]


def both_targets(y):
    return {"digit": y, "odd": (y % 2)[:, None].astype("float32")}


def ask(question, build=build, n_batches=1, batch_size=32, prefetch=2):
    """Put a question to the descriptor in an ordered action, once for each batch.

    Args:
        question: A function of the descriptor, the images and the labels.
        build: What makes the descriptor.
        n_batches: How many batches to ask for.
        batch_size: How many images are in each.
        prefetch: How many batches are made ahead.

    Returns:
        The answer, or a list of them if there is more than one batch.
    """
    chain = digits().p.init_model("net", build).init_variable("answers", init=list)
    chain = chain.scale().ask(question, save_to=V("answers", "a"))
    chain.run(batch_size, n_iters=n_batches, shuffle=1, prefetch=prefetch)
    answers = chain.v("answers")
    return answers if n_batches > 1 else answers[0]


def states(net):
    return [weight.copy() for weight in net.get_weights()]
