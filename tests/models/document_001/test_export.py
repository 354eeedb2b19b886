"""Document 001: `export_savedmodel`, loaded by TensorFlow alone."""

import os
import re
import time

import numpy as np
import pytest
from models.document_001.kit import X, batches, endless, learning, reader, reading
from models.document_001.rows import row
from models.document_kit import keras
from own_process import run_alone

from batchflow.models import Estimator, EstimatorSpec, RunConfig, ServingInputReceiver

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow", "jax")]


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return reader(tmp_path_factory.mktemp("live")).train(batches, steps=2)


def receiver():
    x = keras.Input((1,), name="x")
    return ServingInputReceiver(x, x)


def halved():
    """Requests have thirds of the features, in two parts."""
    parts = {"a": keras.Input((1,), name="a"), "b": keras.Input((1,), name="b")}
    return ServingInputReceiver({"x": (parts["a"] + parts["b"]) / 2.0}, parts)


def served(tf, path, signature="serving_default", **inputs):
    """Call a signature; give its outputs as arrays."""
    loaded = tf.saved_model.load(path)
    called = loaded.signatures[signature](**{k: tf.constant(v) for k, v in inputs.items()})
    return {name: tensor.numpy() for name, tensor in called.items()}


@row(
    "export_savedmodel.export_dir_base",
    "export_savedmodel.timestamped directory",
    "export_savedmodel.returns",
    "export_savedmodel.serving_input_receiver_fn",
    "export_savedmodel.serving_default",
)
def test_the_exported_model_computes_the_predictions(row, live, tf, tmp_path):
    base = tmp_path / "not" / "there"
    before = int(time.time())
    path = live.export_savedmodel(str(base), receiver)
    assert type(path) is str
    assert os.path.dirname(path) == str(base)
    assert re.fullmatch(r"\d+", os.path.basename(path))
    assert before <= int(os.path.basename(path)) <= time.time() + 1
    assert os.listdir(base) == [os.path.basename(path)]  # nothing temporary is left
    found = served(tf, path, x=X)
    expected = list(live.predict(batches))
    for name in ("results", "doubled"):
        np.testing.assert_allclose(found[name], [item[name] for item in expected])
    assert live.export_savedmodel(base, receiver) != path  # in the same second


@row("export_savedmodel.inputs are the receivers", "export_savedmodel.serving_input_receiver_fn")
def test_requests_are_what_the_receiver_takes(row, live, tf, tmp_path):
    path = live.export_savedmodel(str(tmp_path), halved)
    found = served(tf, path, a=X, b=3 * X)
    np.testing.assert_allclose(found["results"], 2 * X)
    signature = tf.saved_model.load(path).signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    assert {name: (tuple(spec.shape), spec.dtype) for name, spec in specs.items()} == {
        "a": ((None, 1), tf.float32),
        "b": ((None, 1), tf.float32),
    }


@row("export_savedmodel.inputs are the receivers", "export_savedmodel.serving_default")
def test_the_loader_of_graphs_loads_it_too(row, live, tf, tmp_path):
    path = live.export_savedmodel(str(tmp_path), halved)
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, [v1.saved_model.SERVING], path)
        signature = meta.signature_def["serving_default"]
        feeds = {signature.inputs["a"].name: X, signature.inputs["b"].name: X}
        results = session.run(signature.outputs["results"].name, feeds)
    np.testing.assert_allclose(results, X)


def with_outputs(outputs):
    """Make a model function with these `export_outputs` of its predictions."""

    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        if mode != "infer":
            return spec
        return EstimatorSpec(mode, spec.predictions, export_outputs=outputs(spec.predictions))

    return model_fn


@row("export_savedmodel.one signature per export output", "export_savedmodel.serving_default")
def test_there_is_a_signature_for_each_export_output(row, tf, tmp_path):
    model_fn = with_outputs(
        lambda found: {
            "serving_default": {"r": found["results"]},
            "double": found["doubled"],
            "both": found,
        }
    )
    estimator = Estimator(model_fn, str(tmp_path / "model")).train(batches, steps=1)
    path = estimator.export_savedmodel(str(tmp_path), receiver)
    signatures = tf.saved_model.load(path).signatures
    assert {"serving_default", "double", "both"} <= set(signatures)
    assert list(served(tf, path, x=X)) == ["r"]
    (doubled,) = served(tf, path, "double", x=X).values()
    np.testing.assert_allclose(doubled, 2 * X)
    assert set(served(tf, path, "both", x=X)) == {"results", "doubled"}


@row("export_savedmodel.serving_default")
def test_the_only_export_output_is_the_default(row, tf, tmp_path):
    estimator = Estimator(learning, str(tmp_path / "model")).train(batches, steps=1)
    path = estimator.export_savedmodel(str(tmp_path), receiver)
    (default,) = served(tf, path, x=X).values()
    (named,) = served(tf, path, "best", x=X).values()
    expected = [item["results"] for item in estimator.predict(batches)]
    np.testing.assert_allclose(default, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(default, named)


@row("export_savedmodel.serving_default", "export_savedmodel.ValueError no export_outputs")
def test_several_export_outputs_need_a_default(row, tf, tmp_path):
    model_fn = with_outputs(lambda found: {"a": found, "b": found})
    estimator = Estimator(model_fn, str(tmp_path / "model")).train(batches, steps=1)
    with pytest.raises(ValueError, match="serving_default"):
        estimator.export_savedmodel(str(tmp_path), receiver)


@row("export_savedmodel.assets_extra")
def test_extra_assets_are_copied(row, live, tf, tmp_path):
    source = tmp_path / "words.txt"
    source.write_text("one\ntwo\n")
    assets = {"words.txt": str(source), "deep/er/names.txt": str(source)}
    path = live.export_savedmodel(str(tmp_path / "out"), receiver, assets_extra=assets)
    for name in assets:
        with open(os.path.join(path, "assets.extra", name)) as stream:
            assert stream.read() == "one\ntwo\n"
    assert served(tf, path, x=X)
    without = live.export_savedmodel(str(tmp_path / "out"), receiver)
    assert not os.path.exists(os.path.join(without, "assets.extra"))


@row("export_savedmodel.assets_extra")
@pytest.mark.parametrize("target", ["words.txt", "../words.txt", "/words.txt", "a/../../words.txt"])
def test_assets_that_cannot_be_copied_leave_nothing(row, live, target, tmp_path):
    source = tmp_path / "words.txt"
    if target != "words.txt":
        source.write_text("here")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match=r"words\.txt"):
        live.export_savedmodel(str(out), receiver, assets_extra={target: str(source)})
    assert not list(out.iterdir())


@row("export_savedmodel.as_text")
def test_the_graph_may_be_written_as_text(row, live, tf, tmp_path):
    path = live.export_savedmodel(str(tmp_path), receiver, as_text=True)
    assert "saved_model.pbtxt" in os.listdir(path)
    assert "saved_model.pb" not in os.listdir(path)
    with open(os.path.join(path, "saved_model.pbtxt")) as stream:
        assert "serving_default" in stream.read()
    np.testing.assert_allclose(served(tf, path, x=X)["results"], X)
    binary = live.export_savedmodel(str(tmp_path), receiver, as_text=False)
    assert "saved_model.pb" in os.listdir(binary)
    assert "saved_model.pbtxt" not in os.listdir(binary)


@row("export_savedmodel.checkpoint_path")
def test_a_checkpoint_is_exported(row, tf, tmp_path):
    config = RunConfig(keep_checkpoint_max=None)
    estimator = Estimator(learning, str(tmp_path / "model"), config)
    first = estimator.train(endless, steps=1).latest_checkpoint()
    estimator.train(endless, steps=30)
    for options in ({"checkpoint_path": first}, {}):
        path = estimator.export_savedmodel(str(tmp_path / "out"), receiver, **options)
        (found,) = served(tf, path, x=X).values()
        expected = [item["results"] for item in estimator.predict(batches, **options)]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@row("export_savedmodel.ValueError no receiver")
def test_a_receiver_function_is_needed(row, live, tmp_path):
    with pytest.raises(ValueError, match="serving_input_receiver_fn"):
        live.export_savedmodel(str(tmp_path), None)
    assert not list(tmp_path.iterdir())


@row("export_savedmodel.serving_input_receiver_fn")
@pytest.mark.parametrize("wrong", [None, (), {"x": 1}, ServingInputReceiver(None, None)], ids=repr)
def test_a_receiver_function_returns_a_receiver(row, live, wrong, tmp_path):
    with pytest.raises(TypeError, match="ServingInputReceiver"):
        live.export_savedmodel(str(tmp_path), lambda: wrong)
    assert not list(tmp_path.iterdir())


@row("export_savedmodel.ValueError no export_outputs")
@pytest.mark.parametrize("outputs", [None, {}])
def test_export_outputs_are_needed(row, outputs, tmp_path):
    model_fn = with_outputs(lambda found: outputs)
    estimator = Estimator(model_fn, str(tmp_path / "model")).train(batches, steps=1)
    with pytest.raises(ValueError, match="export_outputs"):
        estimator.export_savedmodel(str(tmp_path / "out"), receiver)
    assert not (tmp_path / "out").exists()


@row("export_savedmodel.ValueError no checkpoint", "export_savedmodel.checkpoint_path")
def test_a_checkpoint_is_needed(row, tmp_path):
    estimator = reader(tmp_path / "model")
    with pytest.raises(ValueError, match="trained"):
        estimator.export_savedmodel(str(tmp_path), receiver)
    with pytest.raises(ValueError, match="ckpt-7"):
        estimator.export_savedmodel(str(tmp_path), receiver, checkpoint_path="ckpt-7")
    assert not list(tmp_path.iterdir())


ALONE = """
import sys
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
found = loaded.signatures["serving_default"](x=tf.constant(np.load(sys.argv[2])))
np.save(sys.argv[3], found["results"].numpy())
assert "batchflow" not in sys.modules
"""


@row("export_savedmodel.returns")
def test_a_process_that_has_only_tensorflow_serves_it(row, live, tf, tmp_path):
    path = live.export_savedmodel(str(tmp_path / "out"), receiver)
    np.save(tmp_path / "x.npy", X)
    files = [tmp_path / "x.npy", tmp_path / "y.npy"]
    run_alone(ALONE, path, *files, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), X)
