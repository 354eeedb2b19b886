"""Data and graph functions of the tests of BaseModel."""

import keras
import numpy as np

from batchflow.models import Estimator

layers = keras.layers

RNG = np.random.default_rng(1)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = (2 * X[:, :1] - X[:, 1:2] + 0.5).astype("float32")
KINDS = (X[:, 0] > 0).astype("int32")
WORDS = RNG.integers(0, 6, size=(64, 3)).astype("int32")


def linear(mode, features):
    return layers.Dense(1, name="line")(features)


def dense(mode, features):
    hidden = layers.Dense(8, activation="relu", name="hidden")(features)
    return layers.Dense(1, name="out")(layers.Dropout(0.1)(hidden))


def words(mode, features):
    """The mean of the vectors of words. Some occur several times in a batch."""
    vectors = layers.Embedding(6, 2, name="embedding")(features)
    return layers.Dense(1, name="out")(layers.GlobalAveragePooling1D()(vectors))


def inputs(features=X, labels=Y, size=16):
    def input_fn():
        while True:
            for start in range(0, len(X), size):
                part = slice(start, start + size)
                yield _part(features, part), _part(labels, part)

    return input_fn


def _part(value, part):
    if isinstance(value, dict):
        return {name: array[part] for name, array in value.items()}
    return value[part]


def estimator(make_model, folder, config=None):
    """An Estimator of a function of the mode that makes a model."""

    def model_fn(features, labels, mode, config):
        return make_model(mode)(features, labels, config=config)

    return Estimator(model_fn, folder, config)
