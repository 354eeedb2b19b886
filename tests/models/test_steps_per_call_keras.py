"""`train_model(..., steps_per_call=k)` on a Keras model: the same weights and losses."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from batchflow import ArrayBatch, B, Dataset, V, model  # noqa: E402
from batchflow.models import keras_step  # noqa: E402
from batchflow.testing import digest  # noqa: E402

pytestmark = pytest.mark.tensorflow

N_ITEMS, SIZE = 150, 8  # 19 batches in an epoch, the last one of 6 items


class Points(ArrayBatch):
    components = "x", "y", "w"

    @model()
    def net():
        keras.utils.set_random_seed(3)
        layers = keras.layers
        net = keras.Sequential(
            [layers.Input((5,)), layers.Dense(16, "relu"), layers.Dropout(0.3), layers.Dense(3)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
        return net


@pytest.fixture
def dataset():
    Points.models.reset("net")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_ITEMS, 5)).astype("float32")
    y, w = rng.integers(0, 3, N_ITEMS), rng.uniform(0.5, 2, N_ITEMS).astype("float32")
    return Dataset.from_arrays(Points, x=x, y=y, w=w)


def trained(dataset, k, prefetch=0, weighted=False, **kwargs):
    Points.models.reset("net")
    p = dataset.p.init_variable("losses", init=list)
    given = (B.x, B.y, B.w) if weighted else (B.x, B.y)
    p = p.train_model("net", *given, save_to=V("losses", "a"), steps_per_call=k, **kwargs)
    p.run(batch_size=SIZE, seed=1, shuffle=True, n_epochs=3, prefetch=prefetch)
    net = Points.models["net"]
    state = [np.asarray(v) for v in (*net.variables, *net.optimizer.variables)]
    return p.v("losses"), digest(*state), int(net.optimizer.iterations)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_weights_optimizer_seeds_and_losses_are_those_of_single_steps(dataset, prefetch, weighted):
    losses, state, steps = trained(dataset, 4, prefetch, weighted)
    single_losses, single_state, _ = trained(dataset, 1, 0, weighted)
    assert steps == len(losses) == 57
    assert list(map(float, losses)) == list(map(float, single_losses))
    assert state == single_state


def test_each_batch_gets_its_own_metrics(dataset):
    grouped, *_ = trained(dataset, 3, fetches=["loss", "accuracy"])
    single, *_ = trained(dataset, 1, fetches=["loss", "accuracy"])
    assert [tuple(map(float, pair)) for pair in grouped] == [
        tuple(map(float, pair)) for pair in single
    ]


def test_the_rest_of_an_epoch_is_done_in_single_steps(dataset, monkeypatch):
    sizes = []
    several = keras_step.train_on_batches

    def counting(net, given, *args):
        sizes.append(len(given))
        return several(net, given, *args)

    monkeypatch.setattr("batchflow.models.adapters.keras.train_on_batches", counting)
    trained(dataset, 5)
    assert sizes == [5, 5, 5] * 3


@pytest.mark.parametrize("k", [1, 4])
def test_metrics_are_accumulated_when_that_is_asked_for(dataset, k):
    own, *_ = trained(dataset, k, fetches="accuracy")
    running, *_ = trained(dataset, k, fetches="accuracy", reset_metrics=False)
    sizes = np.array([SIZE] * 18 + [N_ITEMS - 18 * SIZE] * 1)
    seen = np.cumsum(np.tile(sizes, 3))
    hits = np.cumsum(np.tile(sizes, 3) * np.array([float(value) for value in own]))
    assert np.allclose([float(value) for value in running], hits / seen, atol=1e-5)
