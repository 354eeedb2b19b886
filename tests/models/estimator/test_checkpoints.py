"""The files of an Estimator: when they are written, which are kept, what is in them."""

import json
import os

import keras
import numpy as np
import pytest
from models.estimator.nets import assert_same, batches, model_fn, state

from batchflow.models import Estimator, RunConfig

pytestmark = pytest.mark.tensorflow


def files(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("events"))


def test_the_newest_checkpoints_are_kept(tmp_path):
    config = RunConfig(save_checkpoints_steps=2, keep_checkpoint_max=2)
    estimator = Estimator(model_fn, tmp_path, config).train(batches, steps=7)
    assert [name for name in files(tmp_path) if name.endswith("npz")] == [
        "ckpt-6.npz",
        "ckpt-7.npz",
    ]
    assert estimator.latest_checkpoint() == str(tmp_path / "ckpt-7.npz")
    assert json.loads((tmp_path / "checkpoint.json").read_text())["checkpoints"] == [
        "ckpt-6",
        "ckpt-7",
    ]


@pytest.mark.parametrize("n_kept", [None, 0])
def test_all_checkpoints_are_kept_where_no_number_is_given(tmp_path, n_kept):
    config = RunConfig(save_checkpoints_steps=1, keep_checkpoint_max=n_kept)
    Estimator(model_fn, tmp_path, config).train(batches, steps=7)
    assert sum(name.endswith("npz") for name in files(tmp_path)) == 7


def test_checkpoints_by_time(tmp_path):
    config = RunConfig(save_checkpoints_secs=0, keep_checkpoint_max=None)
    Estimator(model_fn, tmp_path, config).train(batches, steps=3)
    assert sum(name.endswith("npz") for name in files(tmp_path)) == 3


def test_what_a_crash_left_is_cleared_away_and_nothing_else(tmp_path):
    estimator = Estimator(model_fn, tmp_path).train(batches, steps=1)
    left = ["ckpt-9.npz", "ckpt-9.json", ".ckpt-9.npz.ab12.tmp", ".checkpoint.json.12ab.tmp"]
    mine = ["notes.txt", "ckpt-best.npz", "events.out"]
    for name in left + mine:
        (tmp_path / name).write_text("x")
    assert estimator.latest_checkpoint().endswith("ckpt-1.npz")
    Estimator(model_fn, tmp_path).train(batches, steps=1)
    there = os.listdir(tmp_path)
    assert not set(left) & set(there)
    assert set(mine) < set(there)


def test_nothing_is_there_before_training(tmp_path):
    estimator = Estimator(model_fn, tmp_path / "model")
    assert estimator.latest_checkpoint() is None
    with pytest.raises(ValueError, match="no trained model"):
        estimator.get_variable_names()
    with pytest.raises(ValueError, match="no trained model"):
        estimator.get_variable_value("hidden/kernel")


def test_every_variable_has_a_name_and_a_value(tmp_path):
    estimator = Estimator(model_fn, tmp_path).train(batches, steps=2)
    values = state(estimator)
    assert values["hidden/kernel"].shape == (5, 8)
    assert values["global_step"] == 2
    assert values["optimizer/iteration"] == 2
    assert sum("momentum" in name for name in values) == 4
    with pytest.raises(KeyError, match="Did you mean 'hidden/kernel'"):
        estimator.get_variable_value("hidden/kernle")


def test_a_damaged_index_is_named(tmp_path):
    Estimator(model_fn, tmp_path).train(batches, steps=1)
    (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(ValueError, match=r"checkpoint\.json is damaged"):
        Estimator(model_fn, tmp_path).train(batches, steps=1)


def test_a_cleared_folder_begins_anew(tmp_path):
    estimator = Estimator(model_fn, tmp_path).train(batches, steps=3)
    for name in files(tmp_path):
        os.unlink(tmp_path / name)
    assert estimator.train(batches, steps=1).get_variable_value("global_step") == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    def other(features, labels, mode):
        from batchflow.models import Regressor

        model = Regressor(mode, lambda mode, features: keras.layers.Dense(1)(features["x"]), "mse")
        return model(features, labels)

    Estimator(model_fn, tmp_path).train(batches, steps=1)
    with pytest.raises(ValueError, match="does not fit"):
        Estimator(other, tmp_path).train(batches, steps=1)


def test_a_save_and_a_load_bring_back_the_state(tmp_path):
    estimator = Estimator(model_fn, tmp_path / "model").train(batches, max_steps=5)
    estimator.save(tmp_path / "file")
    expected = state(estimator.train(batches, max_steps=9))
    estimator.load(tmp_path / "file")
    assert estimator.get_variable_value("global_step") == 5
    assert_same(expected, state(estimator.train(batches, max_steps=9)))
    other = Estimator(model_fn, tmp_path / "other")
    other.load(tmp_path / "file")
    assert_same(expected, state(other.train(batches, max_steps=9)))


def test_a_save_follows_links_and_refuses_a_folder(tmp_path):
    estimator = Estimator(model_fn, tmp_path / "model")
    (tmp_path / "link").symlink_to("file")
    estimator.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").stat().st_size
    with pytest.raises(ValueError, match="is a folder"):
        estimator.save(tmp_path / "model" / "..")


def test_a_file_of_an_untrained_estimator_takes_the_training_back(tmp_path):
    estimator = Estimator(model_fn, tmp_path / "model")
    estimator.save(tmp_path / "file")
    expected = state(estimator.train(batches, max_steps=2))
    estimator.load(tmp_path / "file")
    assert estimator.latest_checkpoint() is None
    assert_same(expected, state(estimator.train(batches, max_steps=2)))


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "file.npz", a=1)
    (tmp_path / "file").write_text("x")
    for name in ("file", "file.npz"):
        with pytest.raises(ValueError, match="no saved Estimator"):
            Estimator(model_fn, tmp_path / "model").load(tmp_path / name)


class SetRate(keras.callbacks.Callback):
    """Sets the learning rate after each step."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rate


def rate_of(estimator):
    return float(estimator.get_variable_value("optimizer/learning_rate"))


def test_a_learning_rate_that_is_given_otherwise_is_taken(tmp_path):
    def train(rate, **more):
        return Estimator(model_fn, tmp_path, params={"lr": rate}).train(batches, steps=1, **more)

    assert rate_of(train(0.25)) == 0.25
    assert rate_of(train(0.5)) == 0.5
    assert rate_of(train(0.5, hooks=[SetRate(0.125)])) == 0.125
    assert rate_of(train(0.5)) == 0.125  # what a callback has set stays
    assert rate_of(train(0.25)) == 0.25


def test_another_optimizer_is_refused_with_advice(tmp_path):
    Estimator(model_fn, tmp_path).train(batches, steps=1)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    with pytest.raises(ValueError, match="optimizer") as caught:
        Estimator(model_fn, tmp_path, params={"lr": schedule}).train(batches, steps=1)
    assert any("another model_dir" in note for note in caught.value.__notes__)
