"""Document 002: ways to make a model, its properties, `compile`."""

import inspect

import numpy as np
import pytest
from models.document_002.asking import (
    ask,
    both_targets,
    build,
    build_two,
    halves,
    import_keras,
    states,
)
from models.document_002.rows import documented_order, row

from batchflow import ArrayBatch, Dataset, action, model

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]

# ---- making a model


@row("Model.functional", "Model.*args", "Model.**kwargs")
def test_the_documents_functional_model_is_a_descriptor(row):
    import tensorflow as tf

    def functional(*in_order):
        inputs = tf.keras.Input(shape=(64,))
        x = tf.keras.layers.Dense(4, activation=tf.nn.relu)(inputs)
        outputs = tf.keras.layers.Dense(5, activation=tf.nn.softmax)(x)
        if in_order:
            return tf.keras.Model(inputs, outputs)
        return tf.keras.Model(inputs=inputs, outputs=outputs)

    for make in (functional, lambda: functional(True)):
        assert ask(lambda net, x, y: net.predict_on_batch(x).shape, make) == (32, 5)


def subclass(keras, with_training):
    class MyModel(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense1 = keras.layers.Dense(4, activation="relu")
            self.dense2 = keras.layers.Dense(5, activation="softmax")
            self.dropout = keras.layers.Dropout(0.5, seed=1)

        def call(self, inputs, training=False):
            x = self.dense1(inputs)
            if training:
                x = self.dropout(x, training=training)
            return self.dense2(x)

    class Plain(MyModel):
        def call(self, inputs):
            return self.dense2(self.dense1(inputs))

    return MyModel() if with_training else Plain()


@row("Model.subclass")
def test_a_subclass_is_a_descriptor(row):
    answer = ask(
        lambda net, x, y: net.predict_on_batch(x).sum(axis=1),
        lambda: subclass(import_keras(), with_training=False),
    )
    np.testing.assert_allclose(answer, np.ones(32), rtol=1e-5)


@row("Model.training")
def test_the_training_argument_of_a_subclass_is_told(row):
    def differs(net, x, y):
        once, again = (np.asarray(net(x, training=True)) for _ in range(2))
        np.testing.assert_array_equal(net(x), net(x))
        return not np.array_equal(once, again)

    assert ask(differs, lambda: subclass(import_keras(), with_training=True))


@row("Model.aliases")
def test_every_alias_is_the_class(row):
    import tensorflow as tf

    aliases = [
        tf.compat.v1.keras.Model,
        tf.compat.v1.keras.models.Model,
        tf.compat.v2.keras.Model,
        tf.compat.v2.keras.models.Model,
        tf.keras.models.Model,
        tf.keras.Model,
    ]
    assert all(alias is import_keras().Model for alias in aliases)


def test_a_definition_of_the_class_is_used_from_its_actions():
    class Digits(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return build()

        @action(model="net", singleton=True)
        def train(self, net):
            net.train_on_batch(self.x, self.y)
            return self

    rng = np.random.default_rng(0)
    dataset = Dataset.from_arrays(Digits, x=rng.random((20, 64)), y=rng.integers(0, 10, 20))
    dataset.p.train().run(5, prefetch=2)
    assert int(Digits.models["net"].optimizer.iterations) == 4


# ---- properties


@row("properties.layers")
def test_layers_are_listed(row):
    names = ask(lambda net, x, y: [layer.name for layer in net.layers])
    assert names == ["image", "hidden", "digit"]


@row("properties.metrics_names")
def test_values_are_named_by_return_dict_and_by_fetches(row):
    def named(net, x, y):
        values = net.evaluate(x, y, verbose=0)
        return values, net.evaluate(x, y, verbose=0, return_dict=True), net.metrics_names

    values, by_name, names = ask(named)
    assert dict(zip(("loss", "accuracy"), values, strict=True)) == by_name
    assert names == ["loss", "compile_metrics"]  # not the labels


@row("properties.run_eagerly")
def test_run_eagerly_is_set_and_unset(row):
    import tensorflow as tf

    def eager(net, x, y):
        seen = []

        def loss(y_true, y_pred):
            seen.append(tf.executing_eagerly())
            return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

        net.compile("sgd", loss)
        for wanted in (True, False):
            net.run_eagerly = wanted
            net.train_on_batch(x, y)
            assert net.run_eagerly is wanted
        return seen

    keras = import_keras()
    assert ask(eager)


@row("properties.sample_weights")
def test_weights_of_items_go_into_the_call(row):
    def weighted(net, x, y):
        assert not hasattr(net, "sample_weights")
        only_first = np.eye(len(x))[0]
        whole = net.evaluate(x, y, sample_weight=only_first, verbose=0, return_dict=True)
        first = net.evaluate(x[:1], y[:1], verbose=0, return_dict=True)
        return whole["loss"] * len(x), first["loss"]

    of_all, of_first = ask(weighted)
    assert of_all == pytest.approx(of_first, rel=1e-5)


@row("properties.state_updates")
def test_a_training_step_updates_the_states_of_layers(row):
    def normalizing():
        keras = import_keras()
        net = keras.Sequential([keras.Input((64,)), keras.layers.BatchNormalization()])
        net.compile("sgd", "mse")
        return net

    def moved(net, x, y):
        assert not hasattr(net, "state_updates")
        before = states(net)
        net.predict_on_batch(x)
        assert all(map(np.array_equal, before, states(net)))
        net.train_on_batch(x, x)
        return not any(map(np.array_equal, before, states(net)))

    assert ask(moved, normalizing)


def recurrent(keras=None):
    keras = keras or import_keras()
    keras.utils.set_random_seed(1)
    inputs = keras.Input(batch_shape=(32, 8, 8))
    net = keras.Model(inputs, keras.layers.LSTM(3, stateful=True)(inputs))
    net.compile("sgd", "mse")
    return net


@row("properties.stateful", "reset_states.call")
def test_states_of_layers_are_found_and_reset(row):
    def remembers(net, x, y):
        assert not hasattr(net, "stateful")
        assert not hasattr(net, "reset_states")
        stateful = [layer for layer in net.layers if getattr(layer, "stateful", False)]
        x = x.reshape(-1, 8, 8)
        first, second = net.predict_on_batch(x), net.predict_on_batch(x)
        for layer in stateful:
            layer.reset_state()
        return np.array_equal(first, second), np.array_equal(first, net.predict_on_batch(x))

    assert ask(remembers, recurrent) == (False, True)


# ---- compile


@row("compile.optimizer", "compile.loss", "compile.metrics", "compile.loss_weights")
def test_arguments_stand_where_the_document_has_them_but_for_some(row):
    """Which ones is said in the page: the rest can be given without their names."""
    moved = {}
    for method, documented in sorted(documented_order().items()):
        today = inspect.signature(getattr(import_keras().Model, method, lambda: None)).parameters
        for at, name in enumerate(list(today)[1:]):
            if documented[at : at + 1] not in ([], [name]):
                moved[method] = at, name
                break
    assert moved == {
        "compile": (2, "loss_weights"),
        "evaluate": (7, "return_dict"),
        "fit": (14, "validation_batch_size"),
        "load_weights": (1, "skip_mismatch"),
        "save": (2, "zipped"),
        "save_weights": (2, "max_shard_size"),
        "test_on_batch": (3, "return_dict"),
        "train_on_batch": (4, "return_dict"),
    }


@row("compile.optimizer", "compile.loss", "compile.metrics")
def test_compile_takes_names_and_objects(row):
    keras = import_keras()
    by_name = {
        "optimizer": "sgd",
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    }
    objects = {
        "optimizer": keras.optimizers.SGD(),
        "loss": keras.losses.SparseCategoricalCrossentropy(),
        "metrics": [keras.metrics.SparseCategoricalAccuracy("accuracy")],
    }
    function = {**by_name, "loss": keras.losses.sparse_categorical_crossentropy}
    answers = [
        ask(lambda net, x, y: net.train_on_batch(x, y), lambda settings=settings: build(**settings))
        for settings in (by_name, objects, function)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 2


@row("compile.loss_weights", "compile.metrics", "compile.loss")
@pytest.mark.parametrize("given", ["by name", "in order"])
def test_losses_metrics_and_weights_are_given_for_each_output(row, given):
    losses = {"digit": "sparse_categorical_crossentropy", "odd": "binary_crossentropy"}
    settings = {
        "loss": losses,
        "loss_weights": {"digit": 1.0, "odd": 0.5},
        "metrics": {"digit": "accuracy", "odd": ["accuracy", "mse"]},
    }
    if given == "in order":
        settings = {name: list(value.values()) for name, value in settings.items()}

    def values(net, x, y):
        targets = both_targets(y)
        targets = targets if given == "by name" else list(targets.values())
        return net.evaluate(list(halves(x)), targets, verbose=0, return_dict=True)

    values = ask(values, lambda: build_two(**settings))
    assert values["loss"] == pytest.approx(values["digit_loss"] + values["odd_loss"] / 2, rel=1e-4)
    assert {"digit_accuracy", "odd_accuracy", "odd_mse"} < values.keys()


@row("compile.weighted_metrics")
def test_weighted_metrics_take_the_weights(row):
    def values(net, x, y):
        guessed = net.predict_on_batch(x).argmax(axis=1)
        only_right = (guessed == y).astype("float32")
        return net.test_on_batch(x, y, sample_weight=only_right, return_dict=True)

    values = ask(values, lambda: build(metrics=["accuracy"], weighted_metrics=["accuracy"]))
    assert values["weighted_accuracy"] == 1.0
    assert values["accuracy"] < 1.0


@row("compile.sample_weight_mode")
def test_weights_of_timesteps_need_no_mode(row):
    def in_time():
        keras = import_keras()
        net = keras.Sequential([keras.Input((8, 8)), keras.layers.Dense(1)])
        with pytest.raises(TypeError, match="sample_weight_mode"):
            net.compile("sgd", "mse", sample_weight_mode="temporal")
        net.compile("sgd", "mse")
        return net

    def losses(net, x, y):
        steps, targets, weights = x.reshape(-1, 8, 8), np.ones((len(x), 8, 1)), np.zeros((32, 8))
        nothing = net.test_on_batch(steps, targets, sample_weight=weights)
        weights[:, 0] = 8
        first = net.test_on_batch(steps, targets, sample_weight=weights)
        return nothing, first, float(np.mean((net.predict_on_batch(steps)[:, 0] - 1) ** 2))

    nothing, first, expected = ask(losses, in_time)
    assert nothing == 0
    assert first == pytest.approx(expected, rel=1e-5)


@row("compile.target_tensors")
def test_a_target_that_is_an_input_takes_the_place_of_target_tensors(row):
    keras = import_keras()

    class WithLoss(keras.layers.Layer):
        def call(self, guessed, target):
            self.add_loss(keras.ops.mean((guessed - target) ** 2))
            return guessed

    def build():
        images, target = keras.Input((64,)), keras.Input((1,))
        net = keras.Model([images, target], WithLoss()(keras.layers.Dense(1)(images), target))
        with pytest.raises(TypeError, match="target_tensors"):
            net.compile("sgd", target_tensors=[target])
        net.compile("sgd")
        return net

    losses = ask(lambda net, x, y: net.train_on_batch([x, y[:, None]]), build, n_batches=4)
    assert losses[-1] < losses[0]


@row("compile.distribute")
def test_a_distributed_model_is_made_in_the_scope_of_its_strategy(row):
    import tensorflow as tf

    def distributed():
        with pytest.raises(TypeError, match="distribute"):
            build().compile("sgd", "mse", distribute=None)
        with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
            return build()

    def trained(net, x, y):
        before = states(net)
        net.train_on_batch(x, y)
        return not any(map(np.array_equal, before, states(net)))

    assert ask(trained, distributed)


@row("compile.**kwargs")
def test_compile_has_names_for_its_other_options(row):
    assert ask(lambda net, x, y: net.jit_compile, lambda: build(jit_compile=False)) is False
    with pytest.raises(TypeError, match="nothing_such"):
        build(nothing_such=1)


@row("compile.ValueError")
def test_what_compile_cannot_use_is_a_value_error_at_the_latest_at_its_first_use(row):
    with pytest.raises(ValueError, match="optimizer"):
        build(optimizer="nothing such")
    for wrong in ({"loss": "nothing such"}, {"metrics": ["nothing such"]}):
        with pytest.raises(ValueError, match="nothing such"):
            ask(lambda net, x, y: net.train_on_batch(x, y), lambda wrong=wrong: build(**wrong))
