"""Document 002: `get_layer`, `summary`, configurations, and what is written to files."""

import json
import os

import numpy as np
import pytest
from models.document_002.asking import ask, build, build_two, import_keras, states
from models.document_002.rows import row
from own_process import run_alone

from batchflow.testing import digest

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]


def other(**options):
    """Make a model as `build` does, with other weights."""
    net = build(**options)
    net.set_weights([weight + 1 for weight in net.get_weights()])
    return net


# ---- layers


@row("get_layer.name", "get_layer.index", "get_layer.returns")
def test_a_layer_is_found_by_its_name_or_its_position(row):
    def question(net, x, y):
        found = net.get_layer("hidden"), net.get_layer(name="digit"), net.get_layer(index=1)
        return [layer is net.layers[at] for layer, at in zip(found, (1, 2, 1), strict=True)]

    assert ask(question) == [True] * 3


@row("get_layer.name and index")
def test_a_layer_is_not_asked_for_in_two_ways_at_once(row):
    with pytest.raises(ValueError, match="only a layer name or a layer index"):
        ask(lambda net, x, y: net.get_layer("hidden", 2))


@row("get_layer.ValueError")
def test_a_layer_that_is_not_there_is_refused(row):
    for wrong in ({"name": "lost"}, {"index": 9}, {}):
        with pytest.raises(ValueError, match=r"No such layer|only has 3 layers|either a layer"):
            ask(lambda net, x, y, wrong=wrong: net.get_layer(**wrong))


# ---- summary and configurations


@row("summary.line_length", "summary.positions", "summary.print_fn")
def test_a_summary_is_laid_out_as_asked_and_given_in_one_call(row, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # no line is longer than the terminal

    def question(net, x, y):
        tables = []
        for options in ({"line_length": 60}, {"line_length": 90, "positions": [0.6, 0.8, 1.0]}):
            net.summary(print_fn=lambda text, **_: tables.append(text), **options)
        return tables

    tables = ask(question)
    assert len(tables) == 2
    lines = [next(line for line in table.splitlines() if "━" in line) for table in tables]
    assert [len(line) for line in lines] == [60, 90]
    columns = [[len(part) for part in line.strip("┏┓").split("┳")] for line in lines]
    assert columns[0][0] < columns[1][0]
    assert "hidden (Dense)" in tables[0]


@row("summary.print_fn")
def test_a_summary_is_printed(row, capsys):
    ask(lambda net, x, y: net.summary())
    assert "Total params: 610" in capsys.readouterr().out


@row("summary.ValueError")
def test_a_model_says_whether_it_is_built(row):
    keras = import_keras()

    def question(net, x, y):
        tables = []
        net.summary(print_fn=lambda text, **_: tables.append(text))
        return net.built, "unbuilt" in tables[0]

    assert ask(question, lambda: keras.Sequential([keras.layers.Dense(1)])) == (False, True)
    assert ask(question) == (True, False)


@row("to_json.**kwargs", "to_json.returns")
def test_the_layers_are_written_as_json_and_made_again(row):
    def question(net, x, y):
        return net.to_json(), net.to_json(indent=1)

    text, indented = ask(question)
    assert json.loads(text) == json.loads(indented)
    assert "\n " in indented
    made = import_keras().models.model_from_json(text)
    assert [layer.name for layer in made.layers] == ["image", "hidden", "digit"]


@row("to_yaml.**kwargs", "to_yaml.returns", "to_yaml.ImportError")
def test_json_takes_the_place_of_yaml(row):
    """PyYAML reads and writes it in the tests with tf_keras, where it is installed."""

    def question(net, x, y):
        assert not hasattr(net, "to_yaml")
        return net.to_json(indent=2)

    made = import_keras().models.model_from_json(ask(question))
    assert made.count_params() == 610


# ---- whole models


def trained_and_saved(path, **options):
    """Train a descriptor and save it in an action. Gives what the next step would do."""

    def question(net, x, y):
        net.train_on_batch(x, y)
        net.save(path, **options)
        return net.train_on_batch(x, y), digest(*states(net))

    return ask(question, lambda: build(optimizer="rmsprop"))


@row("save.filepath", "save.load_model")
def test_a_whole_model_is_saved_and_goes_on_as_it_was(row, tmp_path):
    path = tmp_path / "net.keras"
    going_on = trained_and_saved(path)
    loaded = import_keras().models.load_model(path)

    def question(net, x, y):
        return net.train_on_batch(x, y), digest(*states(net))

    assert ask(question, lambda: loaded) == going_on


@row("save.filepath", "save.load_model")
def test_a_model_from_an_h5_file_predicts_and_is_compiled_anew_to_train(row, tmp_path):
    path = tmp_path / "net.h5"
    trained_and_saved(path)
    loaded = import_keras().models.load_model(path)

    def question(net, x, y):
        assert type(net.predict_on_batch(x)) is np.ndarray
        with pytest.raises(ValueError, match="recreate a new optimizer"):
            net.train_on_batch(x, y)
        net.compile("sgd", net.loss)
        before = states(net)
        net.train_on_batch(x, y)
        return not any(map(np.array_equal, before, states(net)))

    assert ask(question, lambda: loaded)


@row("save.filepath", "save.save_format")
def test_the_format_is_the_suffix(row, tmp_path):
    with pytest.raises(ValueError, match=r"add either a `\.keras` extension"):
        trained_and_saved(tmp_path / "folder")
    with pytest.raises(ValueError, match="save_format"):
        trained_and_saved(tmp_path / "folder", save_format="tf")


@row("save.load_model")
def test_an_h5_file_does_not_know_losses_and_metrics_by_their_short_names(row, tmp_path):
    def save(net, x, y):
        net.train_on_batch(x, x[:, :10])
        for name in ("net.keras", "net.h5", "later.keras"):
            net.save(tmp_path / name)

    ask(save, lambda: build(loss="mse", metrics=["mae"]))
    load = import_keras().models.load_model
    with pytest.raises(ValueError, match="Could not deserialize"):
        load(tmp_path / "net.h5")
    assert load(tmp_path / "net.h5", compile=False).count_params() == 610
    assert load(tmp_path / "net.keras").optimizer.name.startswith("sgd")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        load(tmp_path / "later.keras")  # the .h5 file in between took the compilation away


@row("save.overwrite", "save_weights.overwrite")
def test_files_are_replaced_unless_one_is_asked(row, tmp_path, monkeypatch):
    keras = import_keras()
    path, weights = tmp_path / "net.keras", tmp_path / "net.weights.h5"

    def save(net, x, y):
        net.train_on_batch(x, y)
        net.save(path)
        net.save_weights(weights)
        before = path.read_bytes(), weights.read_bytes()
        for answer in ("n", "y"):
            monkeypatch.setattr("builtins.input", lambda *_, answer=answer: answer)
            net.set_weights([weight + 1 for weight in net.get_weights()])
            net.save(path, overwrite=False)
            net.save_weights(weights, overwrite=False)
            yield (path.read_bytes(), weights.read_bytes()) == before
        net.set_weights([weight * 0 for weight in net.get_weights()])
        net.save(path, overwrite=True)
        net.save_weights(weights, overwrite=True)
        yield all(not weight.any() for weight in keras.models.load_model(path).get_weights())

    assert ask(lambda *given: list(save(*given))) == [True, False, True]


@row("save.include_optimizer")
def test_an_h5_file_can_leave_the_optimizer_out(row, tmp_path):
    for suffix, is_compiled in ((".h5", False), (".keras", True)):
        trained_and_saved(tmp_path / f"net{suffix}", include_optimizer=False)
        loaded = import_keras().models.load_model(tmp_path / f"net{suffix}")
        assert loaded.compiled is is_compiled


@row("save.signatures", "save.options", "save.filepath")
def test_a_saved_model_is_written_by_export_or_by_tensorflow(row, tmp_path):
    import tensorflow as tf

    def export(net, x, y):
        for wrong in ("signatures", "options"):
            with pytest.raises(ValueError, match=f"not supported: .*{wrong}"):
                net.save(tmp_path / "net.keras", **{wrong: None})
        net.export(tmp_path / "export", verbose=False)
        spec = tf.TensorSpec((None, 64), "float32")
        tf.saved_model.save(
            net,
            tmp_path / "saved",
            signatures={"digits": tf.function(net.call).get_concrete_function(spec)},
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
        return x, net.predict_on_batch(x)

    x, expected = ask(export)
    exported, saved = (tf.saved_model.load(tmp_path / name) for name in ("export", "saved"))
    served = exported.serve(x)
    (signed,) = saved.signatures["digits"](tf.constant(x)).values()
    np.testing.assert_allclose(served, expected, rtol=1e-5)
    np.testing.assert_allclose(signed, expected, rtol=1e-5)


# ---- weights


@row("save_weights.filepath", "load_weights.filepath")
def test_weights_are_saved_and_loaded(row, tmp_path):
    path = tmp_path / "net.weights.h5"

    def save(net, x, y):
        net.train_on_batch(x, y)
        net.save_weights(path)
        return digest(*states(net))

    def load(net, x, y):
        net.optimizer.build(net.trainable_variables)  # otherwise its state is passed over
        net.load_weights(path)
        return digest(*states(net)), int(net.optimizer.iterations)

    saved = ask(save)
    assert ask(load, other) == (saved, 1)


@row("load_weights.filepath", "load_weights.by_name")
def test_weights_are_loaded_from_whole_models_and_by_name(row, tmp_path):
    def save(net, x, y):
        for suffix in (".keras", ".h5"):
            net.save(tmp_path / f"net{suffix}")
        return digest(*states(net))

    def partly():
        keras = import_keras()
        inputs = keras.Input((64,))
        hidden = keras.layers.Dense(8, name="hidden")(inputs)
        return keras.Model(inputs, keras.layers.Dense(2, name="else")(hidden))

    def load_by_name(net, x, y):
        before = states(net)
        net.load_weights(tmp_path / "net.h5", by_name=True)
        return [np.array_equal(a, b) for a, b in zip(before, states(net), strict=True)]

    saved = ask(save)
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"net{suffix}"
        assert (
            ask(lambda net, x, y, p=path: net.load_weights(p) or digest(*states(net)), other)
            == saved
        )
    same = ask(load_by_name, partly)
    assert same[0] is False  # the kernel of "hidden"
    assert same[2:] == [True, True]
    with pytest.raises(ValueError, match="only supports loading legacy"):
        ask(lambda net, x, y: net.load_weights(tmp_path / "net.weights.h5", by_name=True))


@row("save_weights.ValueError", "save_weights.filepath", "save_weights.save_format")
def test_the_file_of_weights_has_one_suffix(row, tmp_path):
    for name in ("net", "net.h5", "net.keras"):
        with pytest.raises(ValueError, match=r"must end in `\.weights\.h5`"):
            ask(lambda net, x, y, name=name: net.save_weights(tmp_path / name))
    with pytest.raises(TypeError, match="save_format"):
        ask(lambda net, x, y: net.save_weights(tmp_path / "net.weights.h5", save_format="h5"))


@row("save_weights.filepath", "load_weights.filepath", "save_weights.save_format")
def test_tensorflows_own_format_is_that_of_its_checkpoints(row, tmp_path):
    import tensorflow as tf

    path = os.fspath(tmp_path / "checkpoint")

    def save(net, x, y):
        net.train_on_batch(x, y)
        tf.train.Checkpoint(model=net).write(path)
        return digest(*states(net)), int(net.optimizer.iterations)

    def load(net, x, y):
        net.optimizer.build(net.trainable_variables)
        tf.train.Checkpoint(model=net).read(path).assert_consumed()
        return digest(*states(net)), int(net.optimizer.iterations)

    saved = ask(save)
    assert ask(load, other) == saved


@row("save_weights.ImportError")
def test_without_h5py_the_error_says_what_is_needed(row):
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "import keras\n"
        "net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "try:\n"
        "    net.save_weights('net.weights.h5')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "requires the h5py module" in run_alone(code).stdout


def test_a_model_with_several_inputs_is_saved_too(tmp_path):
    path = tmp_path / "two.keras"
    before = ask(lambda net, x, y: net.save(path) or digest(*states(net)), build_two)
    assert digest(*states(import_keras().models.load_model(path))) == before
