"""Document 002, texts and files of before Keras 3: with a `tf_keras` descriptor, in actions."""

import json

import numpy as np
import pytest
import tf_keras
import yaml
from models.document_002 import asking
from models.document_002.asking import build, states
from models.document_002.rows import row

from batchflow.testing import digest

pytestmark = pytest.mark.legacy


def legacy(**options):
    return build(tf_keras, **options)


def ask(question, build=legacy, **options):
    return asking.ask(question, build, **options)


@row("summary.print_fn")
def test_a_summary_is_printed_line_by_line(row):
    lines = []
    ask(
        lambda net, x, y: net.summary(
            line_length=60, positions=[0.3, 0.6, 1.0], print_fn=lines.append
        )
    )
    assert len(lines) > 5
    assert {len(line) for line in lines if set(line) == {"="}} == {60}


@row("summary.ValueError")
def test_a_model_that_is_not_built_has_no_summary(row):
    with pytest.raises(ValueError, match="not yet been built"):
        ask(
            lambda net, x, y: net.summary(), lambda: tf_keras.Sequential([tf_keras.layers.Dense(1)])
        )


def test_to_yaml_is_gone_and_json_goes_through_yaml():
    """Its rows are tested on Keras 3; here PyYAML is installed."""
    with pytest.raises(RuntimeError, match="to_yaml"):
        ask(lambda net, x, y: net.to_yaml())
    for make, package in ((legacy, tf_keras), (build, asking.import_keras())):
        text = yaml.safe_dump(json.loads(ask(lambda net, x, y: net.to_json(), make)))
        assert "class_name: Dense" in text
        made = package.models.model_from_json(json.dumps(yaml.safe_load(text)))
        assert made.count_params() == 610


@row("save.filepath", "save.save_format", "save.signatures", "save.options")
def test_a_saved_model_is_written_by_save(row, tmp_path):
    import tensorflow as tf

    def question(net, x, y):
        net.train_on_batch(x, y)
        spec = tf.TensorSpec((None, 64), "float32")
        signatures = {"digits": tf.function(net.call).get_concrete_function(spec)}
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        net.save(tmp_path / "plain")
        net.save(tmp_path / "signed", save_format="tf", signatures=signatures, options=options)
        return x, net.predict_on_batch(x), digest(*states(net))

    x, expected, trained = ask(question)
    assert digest(*states(tf_keras.models.load_model(tmp_path / "plain"))) == trained
    signed = tf.saved_model.load(tmp_path / "signed")
    (outputs,) = signed.signatures["digits"](tf.constant(x)).values()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@row("save.load_model", "save.include_optimizer")
@pytest.mark.parametrize("name", ["my_model.h5", "my_model.keras"])
def test_the_documents_example_loads_a_compiled_model(row, name, tmp_path):
    path = tmp_path / name

    def question(net, x, y):
        net.train_on_batch(x, y)
        net.save(path)
        return net.train_on_batch(x, y)

    expected = ask(question, lambda: legacy(optimizer="adam"))
    loaded = tf_keras.models.load_model(path)
    assert ask(lambda net, x, y: net.train_on_batch(x, y), lambda: loaded) == expected
    if name.endswith(".h5"):
        ask(lambda net, x, y: net.save(path, include_optimizer=False))
        assert tf_keras.models.load_model(path).optimizer is None


@row(
    *("save_weights.filepath", "save_weights.save_format", "load_weights.filepath"),
    "load_weights.by_name",
)
def test_weights_are_written_in_both_formats(row, tmp_path):
    def save(net, x, y):
        net.train_on_batch(x, y)
        net.save_weights(tmp_path / "checkpoint")
        net.save_weights(tmp_path / "again", save_format="tf")
        net.save_weights(tmp_path / "net.h5")
        net.save_weights(tmp_path / "weights", save_format="h5")
        return digest(*states(net))

    def load(name, **options):
        def question(net, x, y):
            net.set_weights([weight + 1 for weight in net.get_weights()])
            net.load_weights(tmp_path / name, **options)
            return digest(*states(net))

        return ask(question)

    saved = ask(save)
    assert (tmp_path / "checkpoint.index").exists()
    assert load("checkpoint") == load("again") == load("net.h5") == saved
    assert load("net.h5", by_name=True) == saved
    with pytest.raises(ValueError, match="Unknown format"):
        ask(lambda net, x, y: net.save_weights(tmp_path / "net", save_format="yaml"))
