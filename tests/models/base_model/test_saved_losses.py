"""A Keras model that computes a BaseModel's losses, saved as a file and loaded again."""

import keras
import numpy as np
import pytest
from models.base_model.nets import X, Y, linear

from batchflow.models import Regressor

pytestmark = pytest.mark.tensorflow


@keras.saving.register_keras_serializable("tests")
def registered(labels, results):
    return keras.ops.abs(labels - results) * 3


def named(labels, results):
    return keras.ops.abs(labels - results) * 5


@keras.saving.register_keras_serializable("tests")
class Scaled(keras.losses.Loss):
    def __init__(self, scale=1.0, **options):
        super().__init__(**options)
        self.scale = scale

    def call(self, labels, results):
        return keras.ops.mean(keras.ops.square(labels - results), axis=-1) * self.scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


LOSSES = {
    "an identifier": "mse",
    "the name of a class": "MeanAbsoluteError",
    "a config": {"class_name": "LogCosh", "config": {"name": "mine"}},
    "a config with settings": {"class_name": "Huber", "delta": 0.25},
    "an object": keras.losses.MeanSquaredError(reduction="sum"),
    "an object with settings that Keras forgets": keras.losses.Huber(0.25),
    "an object of one's own": Scaled(4.0),
    "a registered function": registered,
}


def model_of(loss):
    x, y = keras.Input((4,)), keras.Input((1,))
    spec = Regressor("eval", linear, loss, summaries=None)(x, y)
    return keras.Model([x, y], [spec.predictions["losses"], spec.loss])


def assert_same(one, other):
    for first, second in zip(one([X, Y]), other([X, Y]), strict=True):
        found = keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(second)
        np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_saved_model_computes_the_same_losses(tmp_path, loss):
    model = model_of(loss)
    model.save(tmp_path / "model.keras")
    assert_same(model, keras.saving.load_model(tmp_path / "model.keras"))


def test_a_function_is_given_when_the_model_is_loaded(tmp_path):
    model = model_of(named)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"named": named})
    assert_same(model, loaded)


def test_sample_weights_and_a_clipping_optimizer_are_saved_too(tmp_path):
    x, y, weight = keras.Input((4,)), keras.Input((1,)), keras.Input(())
    spec = Regressor("train", linear, "mse", summaries=None)(x, y, sample_weight=weight)
    model = keras.Model([x, y, weight], spec.predictions["losses"])
    model.compile(spec.train_op, "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    arrays = [X, Y, np.arange(len(X), dtype="float32")]
    found = [keras.ops.convert_to_numpy(one(arrays)) for one in (model, loaded)]
    np.testing.assert_allclose(*found, rtol=1e-6)
    assert loaded.optimizer.clip_gradients == 0.5
