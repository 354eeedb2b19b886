"""An Estimator as the model of a batch class: one live program in an ordered pipeline."""

import threading

import pytest
from models.estimator.nets import X, Y, assert_same, batches, everything, model_fn, state

from batchflow import ArrayBatch, B, Dataset, V, action, model
from batchflow.models import Estimator, RunConfig
from batchflow.models.estimator import checkpoints

pytestmark = pytest.mark.tensorflow


def make_dataset(folder):
    class Points(ArrayBatch):
        components = "x", "y"

        @model()
        def classifier():
            return Estimator(model_fn, folder, RunConfig(save_checkpoints_steps=10))

        @action(model="classifier", singleton=True)
        def train(self, estimator):
            estimator.train_on_batch({"x": self.x}, self.y)
            return self

        @action(model="classifier", singleton=True)
        def train_with_a_checkpoint(self, estimator):
            estimator.train(lambda: ({"x": self.x}, self.y), steps=1)
            return self

    return Dataset.from_arrays(Points, x=X, y=Y), Points


@pytest.mark.parametrize("prefetch", [0, 3])
def test_steps_in_a_pipeline_are_those_of_train(tmp_path, prefetch):
    dataset, points = make_dataset(tmp_path / "in")
    dataset.p.train().run(10, n_epochs=2, prefetch=prefetch)
    inside = points.models["classifier"]
    alone = Estimator(model_fn, tmp_path / "alone").train(batches, steps=24)
    inside.evaluate(everything)  # saves what is in memory only
    assert_same(state(inside), state(alone))


def test_nothing_is_restored_per_batch(tmp_path, monkeypatch):
    restored = []
    before = checkpoints.Saved.restore_all
    monkeypatch.setattr(
        checkpoints.Saved,
        "restore_all",
        lambda self, program: (restored.append(self.path), before(self, program)),
    )
    dataset, points = make_dataset(tmp_path)
    dataset.p.train_with_a_checkpoint().run(10, n_epochs=1, prefetch=2)
    assert points.models["classifier"].get_variable_value("global_step") == 12
    assert restored == []
    points.models.reset("classifier")
    dataset.p.train().run(10, n_epochs=1, prefetch=2)
    assert restored == [str(tmp_path / "ckpt-12.npz")]


def test_checkpoints_are_saved_as_the_config_says(tmp_path):
    estimator = Estimator(model_fn, tmp_path, RunConfig(save_checkpoints_steps=2))
    estimator.train_on_batch({"x": X[:4]}, Y[:4])
    assert estimator.latest_checkpoint() is None
    logs = estimator.train_on_batch({"x": X[:4]}, Y[:4])
    assert estimator.latest_checkpoint() == str(tmp_path / "ckpt-2.npz")
    assert logs["loss"] > 0
    estimator.train_on_batch({"x": X[:4]}, Y[:4])
    assert estimator.evaluate(everything)["global_step"] == 3
    assert estimator.latest_checkpoint() == str(tmp_path / "ckpt-3.npz")


def test_a_call_that_fails_takes_back_no_step_before_it(tmp_path):
    def broken():
        yield from batches(n_epochs=1)
        raise OSError

    estimator = Estimator(model_fn, tmp_path)
    estimator.train_on_batch({"x": X[:4]}, Y[:4])
    with pytest.raises(OSError):
        estimator.train(broken)
    assert estimator.get_variable_value("global_step") == 1


def test_threads_take_turns(tmp_path):
    estimator = Estimator(model_fn, tmp_path)
    estimator.train_on_batch({"x": X[:8]}, Y[:8])
    errors = []

    def work():
        try:
            for _ in range(10):
                estimator.train_on_batch({"x": X[:8]}, Y[:8])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert estimator.evaluate(everything)["global_step"] == 41


@pytest.mark.parametrize("prefetch", [0, 3])
def test_the_steps_of_a_chain_train_and_ask_it(tmp_path, prefetch):
    _, points = make_dataset(tmp_path)
    est = Estimator(model_fn, tmp_path / "chain")
    p = Dataset.from_arrays(points, x=X, y=Y).p.init_model("est", est)
    p = p.init_variable("losses", init=list).train_model(
        "est", {"x": B.x}, B.y, fetches="loss", save_to=V("losses", mode="a")
    )
    p.predict_model("est", {"x": B.x}, save_to=B.told).run(10, n_epochs=2, prefetch=prefetch)
    assert len(p.v("losses")) == 0
    batch = next(
        p.predict_model("est", {"x": B.x}, save_to=B.told).gen_batch(10, prefetch=prefetch)
    )
    assert {name: len(told) for name, told in batch.told.items()} == {"logits": 10, "classes": 10}
    assert int(est.get_variable_value("global_step")) == 25
