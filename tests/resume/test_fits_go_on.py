"""`Resume`: a `fit` of Keras that is left in the middle of an epoch ends in the same bits."""

import keras
import numpy as np
import pytest

from batchflow import ArrayBatch, B, Checkpoint, Dataset, Keep, action
from batchflow.__main__ import main
from batchflow.checkpoints.store import found
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.interop import Resume

pytestmark = pytest.mark.tensorflow

N, BATCHES = 30, 4  # the last batch is short


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape).astype("float32")
        return self


def feed(seed=5, n=N, shuffle=True):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 4)).astype("float32"), rng.normal(size=n).astype("float32")
    p = Dataset.from_arrays(Rows, x=x, y=y).p.noise()
    return p.feed(8, B.x, B.y, shuffle=shuffle, seed=seed, prefetch=2)


def net():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    hidden = [layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5)]
    made = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1)])
    made.compile(keras.optimizers.SGD(1e-2, momentum=0.9), "mse", metrics=["mae"])
    return made


class StopAt(keras.callbacks.Callback):
    """Ends a `fit` as a kill would, ahead of a batch."""

    def __init__(self, n_batches):
        super().__init__()
        self.n_left = n_batches

    def on_train_batch_begin(self, batch, logs=None):
        self.n_left -= 1
        if self.n_left < 0:
            raise KeyboardInterrupt


def fitted(*callbacks, seed=5, data=None, model=None, **options):
    """Fit; return the history of each value, and the weights."""
    model = model or net()
    slower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    with data or feed(seed).to_keras() as rows, feed(9).to_keras() as others:
        history = model.fit(
            rows,
            epochs=3,
            verbose=0,
            callbacks=[slower, *callbacks],
            validation_data=others,
            **options,
        ).history
    return history, [weights.tolist() for weights in model.get_weights()]


@pytest.fixture(scope="module")
def whole():
    return fitted(shuffle=False)


def left_and_gone_on(folder, n_batches, **options):
    saving = {"directory": folder, "every_n_batches": 1}
    with pytest.raises(KeyboardInterrupt):
        fitted(StopAt(n_batches), Resume(**saving), **options)
    model = net()
    keras.utils.set_random_seed(99)
    return fitted(Resume(**saving), model=model, **options)


@pytest.mark.parametrize("n_batches", [1, BATCHES, 2 * BATCHES - 1])
def test_it_goes_on_inside_of_the_epoch(tmp_path, whole, n_batches, capsys):
    history, weights = left_and_gone_on(tmp_path, n_batches)
    assert weights == whole[1]
    epoch, n_done = divmod(n_batches, BATCHES)
    assert history == {name: values[epoch:] for name, values in whole[0].items()}
    assert f"resumed at batch {n_done} of epoch {epoch}, from" in capsys.readouterr().err


def test_behind_its_end_it_returns_at_once_and_later_fits_are_as_usual(tmp_path, whole, capsys):
    keep = Keep(last=1, best=("val_loss", "max", 1))
    fitted(Resume(Checkpoint(tmp_path, keep=keep)))
    losses = whole[0]["val_loss"]
    best = BATCHES * (1 + losses.index(max(losses)))
    assert [step for step, _ in found(tmp_path)] == [*sorted({best, 3 * BATCHES}, reverse=True)]
    model = net()
    history, weights = fitted(Resume(tmp_path), model=model)
    assert (history, weights) == ({}, whole[1])
    assert main(["checkpoints", str(tmp_path)]) == 0
    assert "step 12: epoch 3; run" in capsys.readouterr().out
    assert len(model.fit(feed().to_keras(), epochs=2, verbose=0).history["loss"]) == 2


def test_a_seed_that_was_drawn_is_that_of_the_feed_that_goes_on(tmp_path):
    saving = {"directory": tmp_path, "every_n_batches": 1}
    first = feed(None).to_keras()
    with pytest.raises(KeyboardInterrupt):
        fitted(StopAt(2), Resume(**saving), data=first)
    second = feed(None).to_keras()
    assert second.seed != first.seed
    _, weights = fitted(Resume(**saving), data=second)
    assert second.seed == first.seed
    assert weights == fitted(seed=first.seed, shuffle=False)[1]


def test_a_fit_that_a_callback_has_stopped_stays_stopped(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    _, weights = fitted(Stop(), Resume(tmp_path))
    history, again = fitted(Stop(), Resume(tmp_path))
    assert (history, again) == ({}, weights)


def test_what_cannot_be_gone_on_with_is_refused(tmp_path):
    model, x = net(), np.zeros((8, 4))
    with pytest.raises(ArgumentTypeError, match=r"Resume goes with model.fit\(feed.to_keras"):
        model.fit(x, x[:, :1], verbose=0, callbacks=[Resume(tmp_path)])
    with pytest.raises(ArgumentValueError, match="steps_per_epoch makes other epochs"):
        fitted(Resume(tmp_path), steps_per_epoch=2)
    with pytest.raises(ArgumentValueError, match=r"stands last in callbacks.*put StopAt in front"):
        fitted(Resume(tmp_path), StopAt(3))
    with pytest.raises(ArgumentValueError, match="every_n_batches must be at least 1"):
        Resume(tmp_path, every_n_batches=0)
    fitted(Resume(tmp_path))
    with pytest.raises(
        ArgumentValueError, match="not the one that was saved: seed was 5, and is 6"
    ):
        fitted(Resume(tmp_path), seed=6)
    pipeline = Dataset.from_arrays(Rows, x=x, y=x[:, 0]).p.noise()
    pipeline.run(4, checkpoint=tmp_path / "run")
    with pytest.raises(ArgumentValueError, match="checkpoints of a run of a pipeline"):
        fitted(Resume(tmp_path / "run"))
    with pytest.raises(ArgumentValueError, match=r"checkpoints of model\.fit"):
        pipeline.run(4, checkpoint=tmp_path)
