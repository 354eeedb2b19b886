"""Document 000: both clippings, by the size of the update: with SGD(1) it is the gradient."""

import numpy as np
import pytest
from models.document_000.kit import estimator_of
from models.document_000.rows import row
from models.document_kit import keras, value

from batchflow.models import BaseModel, Regressor

pytestmark = pytest.mark.tensorflow

N_IDS, WIDTH = 6, 3
IDS = np.array([[0, 1], [1, 1], [4, 0]], "int32")  # 1 is there three times, once twice in a row
TARGETS = np.array([[2.0], [-3.0], [1.0]], "float32")


def embedded(mode, features):
    table = keras.layers.Embedding(N_IDS, WIDTH, embeddings_initializer="ones", name="embedding")(
        features
    )
    dense = keras.layers.Dense(1, kernel_initializer="ones", name="dense")
    return dense(keras.layers.Flatten()(table))


def gradients(scale):
    """Compute the gradients of the mean square, by hand: all weights are 1 and the bias is 0."""
    # With `scale` times the loss: how large gradients are is chosen by it.
    results = np.full((len(IDS), 1), IDS.shape[1] * WIDTH, "float32")
    d_results = scale * 2 * (results - TARGETS) / len(IDS)
    table = np.zeros((N_IDS, WIDTH))
    for ids, d_result in zip(IDS, d_results, strict=True):
        for one in ids:
            table[one] += d_result
    return {
        "embedding": table,
        "kernel": np.full((IDS.shape[1] * WIDTH, 1), d_results.sum()),
        "bias": d_results.sum(axis=0),
    }


def norm(arrays):
    return float(np.sqrt(sum((array**2).sum() for array in arrays)))


def clipped(found, clip_gradients, clip_embed_gradients):
    """Clip as the document says: by the global norm, and then embeddings."""
    if clip_gradients:
        factor = min(1, clip_gradients / norm(found.values()))
        found = {name: array * factor for name, array in found.items()}
    if clip_embed_gradients:
        own = norm([found["embedding"]])
        found["embedding"] = found["embedding"] * min(1, clip_embed_gradients / own)
    return found


def update(folder, scale, **thresholds):
    """Do one step of SGD(1); give how much each variable went down."""

    def loss(labels, results):
        return scale * keras.ops.square(labels - results)

    estimator = estimator_of(
        folder,
        graph_fn=embedded,
        loss=loss,
        optimizer={"class_name": "SGD", "learning_rate": 1.0},
        **thresholds,
    )
    estimator.train(lambda: (IDS, TARGETS), steps=1)
    return {
        "embedding": 1 - value(estimator, "embeddings"),
        "kernel": 1 - value(estimator, "kernel"),
        "bias": 0 - value(estimator, "bias"),
    }


CASES = {
    "by default": ({}, 1.0),
    "neither": ({"clip_gradients": None, "clip_embed_gradients": None}, 0.1),
    "zero is neither": ({"clip_gradients": 0, "clip_embed_gradients": 0}, 0.1),
    "all together": ({"clip_gradients": 2.0, "clip_embed_gradients": None}, 1.0),
    "embeddings": ({"clip_gradients": None, "clip_embed_gradients": 0.2}, 0.1),
    "small gradients": ({}, 1e-4),
    "only just": ({"clip_gradients": 1.0, "clip_embed_gradients": 5}, 0.03),
}


@row("BaseModel.clip_gradients", "BaseModel.clip_embed_gradients")
@pytest.mark.parametrize("case", CASES)
def test_the_update_is_the_clipped_gradient(row, case, tmp_path):
    thresholds, scale = CASES[case]
    found = update(tmp_path, scale, **thresholds)
    settings = {"clip_gradients": 0.5, "clip_embed_gradients": 0.1, **thresholds}
    expected = clipped(gradients(scale), **settings)
    tolerance = 1e-5 if case == "small gradients" else 1e-6
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=tolerance, err_msg=name)
    if case == "by default":
        assert norm(gradients(scale).values()) > 5
        assert norm([found["embedding"]]) == pytest.approx(0.1, rel=1e-4)
        assert norm(found.values()) < 0.5
    if case == "all together":
        assert norm(found.values()) == pytest.approx(2.0, rel=1e-4)


class Plain:
    """A variable that is only asked for its name."""

    def __init__(self, path):
        self.path = path


@row("_clip_gradients_fn.grads_and_vars", "_clip_gradients_fn.by global norm")
def test_pairs_come_back_in_order_with_clipped_gradients(row):
    model = BaseModel("train", "RL", embedded, "mse", summaries=None)
    arrays = [np.full(4, 3.0, "float32"), np.full((3, 3), 4.0, "float32")]
    names = [Plain("Model/dense/kernel"), Plain("Model/word_Embedding/table"), Plain("Model/x")]
    pairs = [(keras.ops.convert_to_tensor(array), one) for array, one in zip(arrays, names)]  # noqa: B905
    found = model._clip_gradients_fn([*pairs, (None, names[2])])
    assert [variable for _, variable in found] == names
    assert found[2][0] is None
    total = np.sqrt(36 + 144)
    dense, table = (keras.ops.convert_to_numpy(gradient) for gradient, _ in found[:2])
    np.testing.assert_allclose(dense, 3 * 0.5 / total, rtol=1e-5)
    assert np.linalg.norm(table) == pytest.approx(0.1, rel=1e-5)


@row("_clip_gradients_fn.by global norm")
@pytest.mark.backends("tensorflow")
def test_sparse_gradients_stay_sparse_and_count_their_rows_once(row):
    import tensorflow as tf

    model = BaseModel("train", "RL", embedded, "mse", summaries=None, clip_embed_gradients=None)
    slices = tf.IndexedSlices(tf.fill([3, 2], 2.0), [1, 1, 4], (6, 2))
    ((found, _),) = model._clip_gradients_fn([(slices, Plain("a/embedding"))])
    assert isinstance(found, tf.IndexedSlices)
    dense = tf.convert_to_tensor(found).numpy()
    assert np.linalg.norm(dense) == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(dense[1], 2 * dense[4], rtol=1e-5)


@row("_clip_gradients_fn.grads_and_vars", "_build_train_op.loss")
def test_an_override_clips_instead(row, tmp_path):
    class Signs(Regressor):
        def _clip_gradients_fn(self, grads_and_vars):
            return [(keras.ops.sign(gradient), variable) for gradient, variable in grads_and_vars]

    sgd = {"class_name": "SGD", "learning_rate": 0.5}
    estimator = estimator_of(tmp_path, Signs, optimizer=sgd)
    estimator.train(lambda: (np.ones((2, 1)), np.full((2, 1), 9.0)), steps=3)
    assert value(estimator, "kernel").item() == 2.5
