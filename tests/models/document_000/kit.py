"""Models of one known weight, trained by an Estimator: what the tests of document 000 share."""

import numpy as np
from models.document_kit import keras

from batchflow.models import BaseModel, Estimator, RunConfig


def weighted(mode, features):
    """One weight `w`, which begins as 1, times the features."""
    return keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="w")(features)


def mean_result(labels, results):
    """A loss whose gradient for `w` is the mean of the features."""
    return results + 0 * labels


ONES = np.ones((4, 1), "float32")


def ones():
    return ONES, ONES


def estimator_of(folder, cls=BaseModel, config=None, **arguments):
    """Make an Estimator of models of a class with these arguments."""
    settings = {"graph_fn": weighted, "loss": "mse", "summaries": None, **arguments}
    if cls is BaseModel or cls.__init__ is BaseModel.__init__:
        settings.setdefault("model_type", "Regressor")

    def model_fn(features, labels, mode, params, config):
        return cls(mode, **settings)(features, labels, params, config)

    return Estimator(model_fn, str(folder), config or RunConfig())


def logger():
    """Make a callback that keeps the loss of each step in `losses`."""

    class Losses(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(float(logs["loss"]))

    return Losses()
