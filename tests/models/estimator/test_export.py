"""Estimator.export_savedmodel: folders that TensorFlow loads by itself."""

import os

import keras
import numpy as np
import pytest
from models.estimator.nets import X, batches, everything, model_fn

from batchflow.errors import BatchflowError
from batchflow.models import Estimator, EstimatorSpec, ServingInputReceiver

tf = pytest.importorskip("tensorflow")
pytestmark = [
    pytest.mark.tensorflow,
    # Of what TensorFlow's loader calls.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
exports = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras writes no SavedModel on torch"
)


def receiver_fn():
    x = keras.Input((5,), name="x")
    return ServingInputReceiver({"x": x}, {"x": x})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Estimator(model_fn, tmp_path_factory.mktemp("model")).train(batches, steps=5)


@exports
def test_tensorflow_alone_gives_the_same_predictions(trained, tmp_path):
    path = trained.export_savedmodel(tmp_path / "exports", receiver_fn)
    assert type(path) is str
    assert os.listdir(tmp_path / "exports") == [os.path.basename(path)]
    assert os.path.basename(path).isdecimal()
    served = tf.saved_model.load(path).signatures["serving_default"](x=tf.constant(X))
    predicted = list(trained.predict(everything))
    assert served.keys() == {"logits", "classes"}
    expected = np.stack([item["logits"] for item in predicted])
    np.testing.assert_allclose(served["logits"], expected, rtol=1e-5, atol=1e-6)


@exports
def test_features_are_computed_from_what_is_received(trained, tmp_path):
    def doubled_fn():
        half = keras.Input((5,), name="half")
        return ServingInputReceiver({"x": 2.0 * half}, {"half": half})

    path = trained.export_savedmodel(tmp_path, doubled_fn)
    served = tf.saved_model.load(path).signatures["serving_default"](half=tf.constant(X / 2))
    expected = np.stack([item["logits"] for item in trained.predict(everything)])
    np.testing.assert_allclose(served["logits"], expected, rtol=1e-5, atol=1e-6)


@exports
def test_assets_and_text(trained, tmp_path):
    (tmp_path / "words.txt").write_text("a b c")
    path = trained.export_savedmodel(
        tmp_path / "exports",
        receiver_fn,
        assets_extra={"vocabulary/words.txt": str(tmp_path / "words.txt")},
        as_text=True,
    )
    with open(os.path.join(path, "assets.extra", "vocabulary", "words.txt")) as stream:
        assert stream.read() == "a b c"
    assert "saved_model.pbtxt" in os.listdir(path)
    assert "saved_model.pb" not in os.listdir(path)
    assert "serving_default" in tf.saved_model.load(path).signatures


@exports
def test_two_exports_have_two_folders_in_the_order_of_time(trained, tmp_path):
    paths = [trained.export_savedmodel(tmp_path, receiver_fn) for _ in range(2)]
    assert int(os.path.basename(paths[0])) < int(os.path.basename(paths[1]))


@exports
def test_a_checkpoint_path_chooses_the_checkpoint(tmp_path):
    estimator = Estimator(model_fn, tmp_path / "model").train(batches, steps=1)
    first = estimator.latest_checkpoint()
    early = np.stack([item["logits"] for item in estimator.predict(everything)])
    estimator.train(batches, steps=5)
    path = estimator.export_savedmodel(tmp_path / "e", receiver_fn, checkpoint_path=first)
    served = tf.saved_model.load(path).signatures["serving_default"](x=tf.constant(X))
    np.testing.assert_allclose(served["logits"], early, rtol=1e-5, atol=1e-6)


def two_outputs(names):
    def function(features, labels, mode):
        results = keras.layers.Dense(1)(features["x"])
        if mode == "infer":
            outputs = {name: results * n for n, name in enumerate(names, 1)}
            return EstimatorSpec(mode, predictions=results, export_outputs=outputs)
        loss = keras.ops.mean(results)
        return EstimatorSpec(mode, loss=loss, train_op=keras.optimizers.SGD())

    return function


@exports
def test_each_output_is_a_signature_and_the_only_one_is_the_default(tmp_path):
    estimator = Estimator(two_outputs(["serving_default", "twice"]), tmp_path / "a")
    path = estimator.train(batches, steps=1).export_savedmodel(tmp_path / "b", receiver_fn)
    loaded = tf.saved_model.load(path)
    assert set(loaded.signatures) == {"serving_default", "twice"}
    one, two = (loaded.signatures[name](x=tf.constant(X)) for name in ("serving_default", "twice"))
    np.testing.assert_allclose(2 * one["output"], two["output"], rtol=1e-5)
    only = Estimator(two_outputs(["only"]), tmp_path / "c").train(batches, steps=1)
    path = only.export_savedmodel(tmp_path / "d", receiver_fn)
    assert set(tf.saved_model.load(path).signatures) == {"serving_default", "only"}


@exports
@pytest.mark.parametrize("names", [[], ["a", "b"]])
def test_outputs_without_a_default_are_refused(tmp_path, names):
    estimator = Estimator(two_outputs(names), tmp_path / "a").train(batches, steps=1)
    with pytest.raises(ValueError, match="export_outputs"):
        estimator.export_savedmodel(tmp_path / "b", receiver_fn)
    assert not (tmp_path / "b").exists()


@exports
@pytest.mark.parametrize("target", ["../x", "/x"])
def test_assets_stay_in_their_folder_and_must_be_there(trained, tmp_path, target):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="outside"):
        trained.export_savedmodel(tmp_path / "e", receiver_fn, {target: str(tmp_path / "file")})
    with pytest.raises(ValueError, match="there is no file"):
        trained.export_savedmodel(tmp_path / "e", receiver_fn, {"x": str(tmp_path / "nothing")})


def test_what_is_missing_is_named(trained, tmp_path):
    with pytest.raises(ValueError, match="serving_input_receiver_fn is missing"):
        trained.export_savedmodel(tmp_path, None)
    with pytest.raises(ValueError, match="no trained model"):
        Estimator(model_fn, tmp_path / "m").export_savedmodel(tmp_path, receiver_fn)
    with pytest.raises(TypeError, match="returns a ServingInputReceiver"):
        trained.export_savedmodel(tmp_path, lambda: {"x": 1})
    with pytest.raises(TypeError, match="receiver_tensors"):
        trained.export_savedmodel(
            tmp_path, lambda: ServingInputReceiver({"x": keras.Input((5,))}, {})
        )


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch only")
def test_on_torch_the_way_out_is_told(trained, tmp_path):
    with pytest.raises(BatchflowError, match="KERAS_BACKEND=tensorflow"):
        trained.export_savedmodel(tmp_path, receiver_fn)
