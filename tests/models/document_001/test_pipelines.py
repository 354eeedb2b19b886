"""An Estimator as the model of a pipeline: defined by `@model()`, trained while batches come."""

import numpy as np
import pytest
from models.document_001.kit import X, Y, learning
from models.document_001.rows import row
from models.document_kit import assert_same_bits, step_of, values

from batchflow import ArrayBatch, B, Dataset, action, model
from batchflow.models import Estimator

pytestmark = pytest.mark.tensorflow


def pairs(folder):
    """Make a batch class whose model is an Estimator in a folder."""

    class Pairs(ArrayBatch):
        components = "x", "y"

        @model()
        def learner():
            return Estimator(learning, str(folder))

        @action
        def shake(self):
            noise = self.rng.normal(size=self.x.shape) / 10
            self.x = (self.x + noise).astype("float32")
            return self

        @action(model="learner", singleton=True)
        def train_step(self, learner):
            logs = learner.train_on_batch(self.x, self.y)
            self.pipeline.v("losses").append(float(logs["loss"]))
            return self

        @action(model="learner", singleton=True)
        def train_call(self, learner):
            learner.train(lambda: (self.x, self.y), steps=1)
            return self

        @action(model="learner", singleton=True)
        def predict(self, learner):
            self.y = np.stack([item["results"] for item in learner.predict(lambda: self.x)])
            return self

    return Pairs


def trained(folder, how, prefetch, n_epochs=3):
    batch_class = pairs(folder)
    pipeline = Dataset.from_arrays(batch_class, x=X, y=Y).p.shake()
    pipeline = getattr(pipeline.init_variable("losses", init=list), how)()
    pipeline.run(5, shuffle=3, seed=4, n_epochs=n_epochs, prefetch=prefetch)
    return batch_class, pipeline


@row("Estimator.model_fn", "train.steps")
@pytest.mark.parametrize("how", ["train_step", "train_call"])
def test_the_weights_are_the_same_at_every_prefetch(row, how, tmp_path):
    found = {}
    for prefetch in (0, 4):
        batch_class, pipeline = trained(tmp_path / str(prefetch), how, prefetch)
        estimator = batch_class.models["learner"]
        assert isinstance(estimator, Estimator)
        found[prefetch] = values(estimator)
        assert step_of(estimator) == 9
        assert len(pipeline.v("losses")) == (9 if how == "train_step" else 0)
    assert_same_bits(found[0], found[4])


@row("train.steps")
def test_steps_of_both_kinds_are_the_same_steps(row, tmp_path):
    found = [
        values(trained(tmp_path / how, how, 2)[0].models["learner"])
        for how in ("train_step", "train_call")
    ]
    assert_same_bits(*found)


@row("Estimator.model_dir")
def test_what_a_pipeline_has_trained_another_process_may_read(row, tmp_path):
    batch_class, _ = trained(tmp_path, "train_step", 2)
    estimator = batch_class.models["learner"]
    assert estimator.evaluate(lambda: (X, Y))["global_step"] == 9  # it saves what is only live
    assert step_of(Estimator(learning, str(tmp_path))) == 9


@row("predict.input_fn")
def test_a_pipeline_predicts_with_it(row, tmp_path):
    batch_class, _ = trained(tmp_path, "train_step", 2)
    pipeline = Dataset.from_arrays(batch_class, x=X, y=Y).p.predict()
    found = np.concatenate([batch.y for batch in pipeline.gen_batch(5, prefetch=2)])
    estimator = batch_class.models["learner"]
    expected = [item["results"] for item in estimator.predict(lambda: X)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@row("train.steps")
def test_a_model_that_is_saved_by_a_pipeline_goes_on_to_the_same_bits_in_another(row, tmp_path):
    def pipeline(folder):
        dataset = Dataset.from_arrays(pairs(tmp_path / folder), x=X, y=Y)
        return dataset.p.init_variable("losses", init=list)

    whole = pipeline("whole").train_step()
    whole.run(5, n_epochs=3)
    file = str(tmp_path / "file")
    pipeline("a").train_step().after.save_model("learner", file).run(5, n_epochs=2)
    rest = pipeline("b").load_model("learner", file).train_step()
    rest.run(5)
    assert_same_bits(values(whole.m("learner")), values(rest.m("learner")))


@row("evaluate.input_fn")
def test_a_feed_of_the_same_batch_class_evaluates_it(row, tmp_path):
    batch_class, _ = trained(tmp_path, "train_step", 2)
    estimator = batch_class.models["learner"]
    feed = Dataset.from_arrays(batch_class, x=X, y=Y).p.feed(5, B.x, B.y, prefetch=2)
    at_once = estimator.evaluate(lambda: (X, Y))
    assert estimator.evaluate(lambda: feed)["loss"] == pytest.approx(at_once["loss"], rel=1e-5)
