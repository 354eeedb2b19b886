"""The losses of items: masks, positions, sums, and what functions get."""

import keras
import numpy as np
import pytest
from models.base_model.nets import estimator, layers

from batchflow.models import Regressor

pytestmark = pytest.mark.tensorflow

WORDS = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 2, 3, 4]], "int32")
IS_WORD = WORDS > 0
TARGETS = np.array([[0.5] * 4, [2.0] * 4, [1.0] * 4], "float32")[..., np.newaxis]
VALUES = np.array([[0], [1], [2], [4], [8]], "float32")
SQUARES = (VALUES[WORDS] - TARGETS)[..., 0] ** 2


def words(mode, features, masked=True):
    initial = keras.initializers.Constant(VALUES)
    return layers.Embedding(5, 1, mask_zero=masked, embeddings_initializer=initial)(features)


def plain(mode, features):
    return words(mode, features, masked=False)


def losses_of(loss, graph_fn, labels=TARGETS, weights=None):
    """Give the losses of the items, and the loss, as a model computes them."""
    arrays = [WORDS, labels] if weights is None else [WORDS, labels, weights]
    inputs = [keras.Input(one.shape[1:], dtype=one.dtype.name) for one in arrays]
    model = Regressor("eval", graph_fn, loss, summaries=None)
    spec = model(*inputs[:2], sample_weight=None if weights is None else inputs[2])
    found = keras.Model(inputs, [spec.predictions["losses"], spec.loss])(arrays)
    return [keras.ops.convert_to_numpy(one) for one in found]


LOSSES = {
    "identifier": lambda: "mse",
    "object": keras.losses.MeanSquaredError,
    "function": lambda: lambda true, found: keras.ops.square(true - found),
}


@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("shape", [(3, 4, 1), (3, 4)], ids=str)
def test_positions_that_a_mask_leaves_out_do_not_count(make, shape):
    losses, loss = losses_of(make(), words, labels=TARGETS.reshape(shape))
    expected = (SQUARES * IS_WORD).sum(axis=1) / IS_WORD.sum(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)


@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
def test_without_a_mask_all_positions_count(make):
    losses, loss = losses_of(make(), plain)
    np.testing.assert_allclose(losses, SQUARES.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(loss, SQUARES.mean(), rtol=1e-6)


@pytest.mark.parametrize("graph_fn", [words, plain])
def test_a_sum_is_over_positions_too(graph_fn):
    loss = losses_of(keras.losses.MeanSquaredError(reduction="sum"), graph_fn)[1]
    counts = IS_WORD if graph_fn is words else 1
    np.testing.assert_allclose(loss, (SQUARES * counts).sum(), rtol=1e-6)
    net = keras.losses.MeanSquaredError(reduction="sum")
    if graph_fn is plain:
        np.testing.assert_allclose(loss, float(net(TARGETS, VALUES[WORDS])), rtol=1e-6)


def test_a_function_that_takes_the_mean_itself_is_left_alone():
    def loss(true, found):
        return keras.ops.mean(keras.ops.square(true - found))

    np.testing.assert_allclose(losses_of(loss, words)[1], SQUARES.mean(), rtol=1e-6)


def test_weights_and_masks_are_multiplied():
    weights = np.array([1.0, 0.0, 3.0], "float32")
    losses, _ = losses_of("mse", words, weights=weights)
    expected = weights * (SQUARES * IS_WORD).sum(axis=1) / IS_WORD.sum(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_a_masked_model_is_trained(tmp_path):
    def model(mode):
        sgd = {"class_name": "SGD", "learning_rate": 0.1}
        return Regressor(mode, words, "mse", sgd, summaries=None, clip_gradients=None)

    trained = estimator(model, tmp_path).train(lambda: (WORDS, TARGETS), steps=1)
    kernel = trained.get_variable_value("Regressor/embedding/embeddings")
    assert kernel[0] == VALUES[0]  # of the padding, which has no loss
    assert (kernel[1:] != VALUES[1:]).all()


def test_a_loss_object_stays_as_it_was():
    loss = keras.losses.Huber(2.0)
    before = dict(vars(loss))
    losses_of(loss, plain)
    assert vars(loss) == before


def test_a_function_gets_labels_in_the_shape_of_results():
    shapes = []

    def loss(true, found):
        shapes.append((len(true.shape), len(found.shape)))
        return keras.ops.square(true - found)

    losses, _ = losses_of(loss, plain, labels=TARGETS[..., 0])
    assert set(shapes) == {(2, 2)}
    np.testing.assert_allclose(losses, SQUARES.mean(axis=1), rtol=1e-6)


def test_labels_of_classes_stay_as_they_are():
    kinds = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], "int32")

    def graph_fn(mode, features):
        return layers.Softmax()(layers.Dense(2, kernel_initializer="ones")(plain(mode, features)))

    losses, _ = losses_of("sparse_categorical_crossentropy", graph_fn, labels=kinds)
    np.testing.assert_allclose(losses, np.log([2, 2, 2]), rtol=1e-5)


def test_a_name_that_torch_cannot_take_is_refused_everywhere():
    with pytest.raises(ValueError, match="letters, digits, '_' and '-'"):
        Regressor("train", plain, "mse", name="a.b")
