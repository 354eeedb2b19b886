"""The optimizers of BaseModel: what they are made of, decays, and both clippings."""

import functools

import keras
import numpy as np
import pytest
from models.base_model.nets import WORDS, X, estimator, inputs, linear, words

from batchflow.models import Regressor
from batchflow.models.base_model.clipping import clip, clipped_optimizer

pytestmark = pytest.mark.tensorflow


def made(optimizer, **more):
    model = Regressor("train", linear, "mse", optimizer, **more)
    return model(keras.Input((4,)), keras.Input((1,))).train_op


class TestMaking:
    def test_adam_is_the_default(self):
        optimizer = made(None).inner_optimizer
        assert type(optimizer).__name__ == "Adam"
        assert float(optimizer.learning_rate) == pytest.approx(0.001)

    @pytest.mark.parametrize(
        "given",
        [
            {"class_name": "SGD", "config": {"learning_rate": 0.25, "momentum": 0.5}},
            {"class_name": "SGD", "learning_rate": 0.25, "momentum": 0.5},
            keras.optimizers.SGD(0.25, momentum=0.5),
        ],
    )
    def test_one_optimizer_in_many_words(self, given):
        optimizer = made(given).inner_optimizer
        assert (float(optimizer.learning_rate), optimizer.momentum) == (0.25, 0.5)

    def test_a_name(self):
        assert type(made("rmsprop").inner_optimizer).__name__ == "RMSprop"

    @pytest.mark.parametrize("given", ["addam", {"class_name": "Addam", "config": {}}])
    def test_what_keras_does_not_know(self, given):
        with pytest.raises(ValueError, match="Keras knows no optimizer"):
            made(given)

    def test_what_is_none(self):
        with pytest.raises(TypeError, match="optimizer is an identifier"):
            made(3)

    def test_without_clipping_it_is_the_optimizer_itself(self):
        given = keras.optimizers.SGD()
        assert made(given, clip_gradients=None, clip_embed_gradients=0) is given

    def test_an_optimizer_that_was_used_is_a_template(self):
        given = keras.optimizers.SGD(0.25)
        given.build([keras.Variable(np.ones(3))])
        other = made(given).inner_optimizer
        assert other is not given
        assert float(other.learning_rate) == 0.25


class TestDecay:
    @pytest.mark.parametrize(
        ("settings", "rates"),
        [
            (
                {
                    "learning_rate": 0.5,
                    "decay_type": "exponential_decay",
                    "decay_steps": 2,
                    "decay_rate": 0.25,
                },
                [0.5, 0.25, 0.125, 0.0625],
            ),
            (
                {
                    "learning_rate": 0.5,
                    "decay_type": "exponential_decay",
                    "decay_steps": 2,
                    "decay_rate": 0.25,
                    "staircase": True,
                },
                [0.5, 0.5, 0.125, 0.125],
            ),
            (
                {
                    "decay_type": "piecewise_constant_decay",
                    "boundaries": [1],
                    "values": [0.5, 0.25],
                },
                [0.5, 0.5, 0.25, 0.25],
            ),
            (
                {
                    "learning_rate": {
                        "class_name": "PolynomialDecay",
                        "config": {
                            "initial_learning_rate": 0.5,
                            "decay_steps": 4,
                            "end_learning_rate": 0.0,
                        },
                    }
                },
                [0.5, 0.375, 0.25, 0.125],
            ),
        ],
    )
    def test_the_rate_falls_step_by_step(self, tmp_path, settings, rates):
        optimizer = {"class_name": "SGD", "config": settings}
        seen = []

        class Look(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                seen.append(float(self.model.optimizer.learning_rate))

        trained = estimator(
            lambda mode: Regressor(mode, linear, "mse", optimizer, summaries=None), tmp_path
        )
        trained.train(inputs(), steps=2, hooks=[Look()])
        trained = estimator(
            lambda mode: Regressor(mode, linear, "mse", optimizer, summaries=None), tmp_path
        )
        trained.train(inputs(), steps=2, hooks=[Look()])  # goes on from the checkpoint
        assert seen == pytest.approx(rates)

    def test_a_decay_that_is_not_known(self):
        with pytest.raises(ValueError, match="Did you mean 'exponential_decay'"):
            made({"class_name": "SGD", "decay_type": "exponential"})

    def test_a_decay_that_lacks_something(self):
        with pytest.raises(TypeError, match="decay_steps"):
            made({"class_name": "SGD", "decay_type": "exponential_decay"})


def update(tmp_path, graph_fn, features, name="net", **clipping):
    """The change of each variable by one step of SGD with the rate 1 on a large loss."""

    def make(mode, rate):
        return Regressor(
            mode,
            graph_fn,
            lambda true, predicted: 1000 * keras.ops.square(true - predicted),
            keras.optimizers.SGD(rate),
            summaries=None,
            name=name,
            **clipping,
        )

    own, values = name, []
    for rate in (0.0, 1.0):
        trained = estimator(functools.partial(make, rate=rate), tmp_path / str(rate))
        trained.train(inputs(features), steps=1)
        names = [name for name in trained.get_variable_names() if name.startswith(f"{own}/")]
        values.append({name: trained.get_variable_value(name) for name in names})
    return {name: values[1][name] - values[0][name] for name in values[0]}


def norm(changes):
    return np.sqrt(sum(np.sum(np.square(change, dtype="float64")) for change in changes))


class TestClipping:
    def test_all_gradients_are_clipped_by_their_global_norm(self, tmp_path):
        changes = update(tmp_path, linear, X, clip_gradients=0.5)
        assert norm(changes.values()) == pytest.approx(0.5, rel=1e-3)

    def test_the_default_is_one_half(self, tmp_path):
        assert norm(update(tmp_path, linear, X).values()) == pytest.approx(0.5, rel=1e-3)

    @pytest.mark.parametrize("off", [None, 0, -1])
    def test_none_or_nothing_clips_nothing(self, tmp_path, off):
        changes = update(tmp_path, linear, X, clip_gradients=off, clip_embed_gradients=off)
        assert norm(changes.values()) > 10

    def test_gradients_of_an_embedding_are_clipped_by_their_own_norm(self, tmp_path):
        changes = update(tmp_path, words, WORDS, clip_gradients=None, clip_embed_gradients=0.1)
        assert norm([changes.pop("net/embedding/embeddings")]) == pytest.approx(0.1, rel=1e-3)
        assert norm(changes.values()) > 1

    def test_both_come_one_after_the_other(self, tmp_path):
        changes = update(tmp_path, words, WORDS, clip_gradients=5.0, clip_embed_gradients=0.01)
        assert norm([changes["net/embedding/embeddings"]]) == pytest.approx(0.01, rel=1e-3)
        assert norm(changes.values()) < 5.0

    def test_the_global_norm_counts_rows_that_occur_several_times_as_one(self, tmp_path):
        changes = update(tmp_path, words, WORDS, clip_gradients=0.5, clip_embed_gradients=None)
        assert norm(changes.values()) == pytest.approx(0.5, rel=1e-3)

    def test_small_gradients_stay_as_they_are(self):
        variable = keras.Variable(np.ones(2), name="a")
        gradient = keras.ops.convert_to_tensor([0.03, 0.04])
        ((clipped, _),) = clip([(gradient, variable)], 0.5, 0.1)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(clipped), [0.03, 0.04], rtol=1e-6)

    @pytest.mark.parametrize(
        ("given", "expected"), [(np.float32(0.5), 0.5), (np.int64(1), 1), (np.float64(0), 0)]
    )
    def test_thresholds_may_be_numbers_of_numpy(self, given, expected):
        model = Regressor("train", linear, "mse", clip_gradients=given, clip_embed_gradients=given)
        assert (model.clip_gradients, model.clip_embed_gradients) == (expected, expected)
        assert type(model.clip_gradients) is float  # as a config that is written as JSON has it

    @pytest.mark.parametrize("wrong", [True, np.bool_(True), "1", np.ones(1), 1j])
    def test_what_is_no_number_is_no_threshold(self, wrong):
        with pytest.raises(TypeError, match="clip_gradients is a number"):
            Regressor("train", linear, "mse", clip_gradients=wrong)

    def test_the_name_of_the_model_makes_no_embedding(self, tmp_path):
        thresholds = {"clip_gradients": None, "clip_embed_gradients": 0.1}
        changes = update(tmp_path, words, WORDS, name="EmbeddingNet", **thresholds)
        table = changes.pop("EmbeddingNet/embedding/embeddings")
        assert norm([table]) == pytest.approx(0.1, rel=1e-3)
        assert norm(changes.values()) > 1

    def test_nor_does_it_for_those_who_clip_themselves(self):
        model = Regressor("train", linear, "mse", clip_gradients=None, name="EmbeddingNet")
        kernel = keras.Variable(np.ones(2), name="kernel")
        with keras.name_scope("EmbeddingNet"):
            scoped = keras.Variable(np.ones(2), name="kernel")
        assert scoped.path == "EmbeddingNet/kernel"
        gradient = keras.ops.convert_to_tensor([3.0, 4.0])
        for variable in (kernel, scoped):
            ((clipped, _),) = model._clip_gradients_fn([(gradient, variable)])
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(clipped), [3.0, 4.0])

    def test_variables_without_a_gradient_are_left_out(self):
        variable = keras.Variable(np.ones(2), name="embedding")
        assert clip([(None, variable)], 0.5, 0.1) == [(None, variable)]

    def test_an_override_clips_instead(self, tmp_path):
        class Signs(Regressor):
            def _clip_gradients_fn(self, grads_and_vars):
                return [
                    (keras.ops.sign(gradient), variable) for gradient, variable in grads_and_vars
                ]

        def kernel(rate):
            optimizer = {"class_name": "SGD", "learning_rate": rate}
            trained = estimator(
                lambda mode: Signs(mode, linear, "mse", optimizer, summaries=None),
                tmp_path / str(rate),
            ).train(inputs(), steps=1)
            return trained.get_variable_value("Regressor/line/kernel")

        kernels = [kernel(0.0), kernel(0.25)]
        np.testing.assert_allclose(np.abs(kernels[1] - kernels[0]), 0.25, rtol=1e-5)

    def test_it_is_saved_with_a_whole_model(self, tmp_path):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(clipped_optimizer(keras.optimizers.SGD(0.5), 0.25, 0.125), "mse")
        model.train_on_batch(np.ones((2, 2)), np.ones((2, 1)))
        model.save(tmp_path / "model.keras")
        optimizer = keras.saving.load_model(tmp_path / "model.keras").optimizer
        assert (optimizer.clip_gradients, optimizer.clip_embed_gradients) == (0.25, 0.125)
        assert int(optimizer.iterations) == 1
        assert float(optimizer.learning_rate) == 0.5
