"""An Estimator in a pipeline does what it does alone: files, hooks, log, predictions, tests."""

import logging
import os

import keras
import numpy as np
import pytest
from models.estimator.nets import assert_same, state

from batchflow import ArrayBatch, B, Dataset, UnknownNameError, V, action, model
from batchflow.models import Estimator, EstimatorSpec, Regressor, RunConfig

pytestmark = pytest.mark.tensorflow

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Pairs(ArrayBatch):
    components = "x", "y"

    @model()
    def line():
        return Estimator(summarized, CONFIG.model_dir, CONFIG)

    @action(model="line", singleton=True)
    def fit(self, line):
        line.train_on_batch(self.x, self.y)
        return self

    @action(singleton=True)
    def fail_at(self, number):
        if self.number == number:
            raise LookupError
        return self


CONFIG = RunConfig()
pairs = Dataset.from_arrays(Pairs, x=X, y=Y).p


class Hook:
    """Notes what is called; asks to stop after some steps."""

    def __init__(self, stops_after=None):
        self.calls, self.stops_after = [], stops_after

    def begin(self):
        self.calls.append("begin")

    def before_run(self, context):
        self.calls.append("before")

    def after_run(self, context, values):
        self.calls.append(float(values.results["loss"]))
        if self.calls.count("before") == self.stops_after:
            context.request_stop()

    def end(self, session):
        self.calls.append("end")


def summarized(features, labels, mode, config):
    net = Regressor(
        mode, lambda mode, inputs: keras.layers.Dense(1)(inputs), "mse", summaries=["loss"]
    )
    return net(features, labels, config=config)


def estimator(folder=None, hook=None, **config):
    def model_fn(features, labels, mode):
        results = keras.layers.Dense(1, name="out")(features)
        predictions = {"value": results, "double": 2 * results}
        if mode == "infer":
            return EstimatorSpec(mode, predictions=predictions)
        return EstimatorSpec(
            mode,
            predictions=predictions,
            loss=keras.ops.mean(keras.ops.square(results - labels)),
            train_op=keras.optimizers.SGD(0.1),
            eval_metric_ops={"mae": (keras.metrics.MeanAbsoluteError(), labels, results)},
            training_hooks=[hook] if hook else [],
        )

    return Estimator(model_fn, folder, RunConfig(**config))


def events(folder):
    """The summaries in a folder: by tag, steps and values."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = module.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    read.Reload()
    return {
        tag: [(event.step, event.tensor_proto.SerializeToString()) for event in read.Tensors(tag)]
        for tag in read.Tags()["tensors"]
    }


def files(folder):
    """The files but for those of events, with what is in them."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(("npz", "json")))
    return {name: (folder / name).read_bytes() for name in names}


def log_of(caplog):
    texts = [record.getMessage().rpartition(",")[0] for record in caplog.records]
    caplog.clear()
    return texts


@pytest.mark.parametrize("prefetch", [0, 4])
def test_it_writes_the_files_and_the_log_of_train(tmp_path, monkeypatch, caplog, prefetch):
    caplog.set_level(logging.INFO, logger="batchflow")
    settings = {
        "save_summary_steps": 2,
        "log_step_count_steps": 2,
        "save_checkpoints_steps": 3,
        "keep_checkpoint_max": 2,
    }

    def config(name):
        return RunConfig(str(tmp_path / name), **settings)

    def chain(folder):
        return pairs.init_model("est", Estimator(summarized, None, config(folder)))

    Estimator(summarized, None, config("alone")).train(pairs.feed(10, B.x, B.y, n_epochs=2))
    expected, log = files(tmp_path / "alone"), log_of(caplog)
    assert [name for name in expected if name.endswith("npz")] == ["ckpt-6.npz", "ckpt-8.npz"]
    assert [text[:6] for text in log] == ["step 2", "step 4", "step 6", "step 8"]
    chain("chain").train_model("est", B.x, B.y).run(10, n_epochs=2, prefetch=prefetch)
    assert log_of(caplog) == log
    monkeypatch.setattr(f"{__name__}.CONFIG", config("action"))
    Pairs.models.reset("line")
    pairs.fit().run(10, n_epochs=2, prefetch=prefetch)
    for folder in ("chain", "action"):
        assert files(tmp_path / folder) == expected
        assert events(tmp_path / folder) == events(tmp_path / "alone")
    assert [step for step, _ in events(tmp_path / "chain")["loss"]] == [1, 2, 4, 6, 8]


def test_the_hooks_of_its_spec_are_called_as_by_train():
    alone, inside = Hook(), Hook()
    estimator(hook=alone).train(pairs.feed(10, B.x, B.y))
    chain = pairs.init_model("est", estimator(hook=inside)).train_model("est", B.x, B.y)
    chain.run(10, prefetch=2)
    assert inside.calls == alone.calls
    assert (alone.calls[0], alone.calls[-1], alone.calls.count("before")) == ("begin", "end", 4)
    chain.run(10)
    assert inside.calls.count("end") == inside.calls.count("begin") == 2


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_hook_that_asks_to_stop_ends_the_run_behind_its_batch(tmp_path, prefetch):
    hook = Hook(stops_after=2)
    est = estimator(tmp_path, hook)
    chain = pairs.init_model("est", est).train_model("est", B.x, B.y, save_to=B.logs)
    batches = list(chain.gen_batch(10, prefetch=prefetch))
    assert [batch.number for batch in batches] == [0, 1]
    assert all(batch.logs["loss"] > 0 for batch in batches)
    assert hook.calls[-1] == "end"
    assert est.latest_checkpoint() == str(tmp_path / "ckpt-2.npz")


def test_a_run_that_an_error_ends_keeps_its_steps_and_calls_no_end(tmp_path):
    hook = Hook()
    est = estimator(tmp_path, hook)
    chain = pairs.init_model("est", est).train_model("est", B.x, B.y).fail_at(2)
    with pytest.raises(LookupError):
        chain.run(10)
    assert "end" not in hook.calls
    assert est.latest_checkpoint() is None
    assert est.evaluate((X, Y))["global_step"] == 3


def test_a_run_that_looks_on_inside_of_another_does_not_end_its_steps():
    hook = Hook()
    est = estimator(hook=hook)
    training = pairs.init_model("est", est).train_model("est", B.x, B.y)
    looking = pairs.import_model("est", training).predict_model("est", B.x, save_to=B.told)
    for _ in training.gen_batch(10):
        assert len(list(looking.gen_batch(20))) == 2
    assert (hook.calls.count("begin"), hook.calls.count("end")) == (1, 1)


def test_a_descriptor_may_hold_it_among_others(tmp_path):
    hook = Hook()

    class Listed(ArrayBatch):
        components = "x", "y"

        @model()
        def both():
            return [estimator(tmp_path, hook), "notes"]

        @action(model="both", singleton=True)
        def fit(self, both):
            both[0].train_on_batch(self.x, self.y)
            return self

    Dataset.from_arrays(Listed, x=X, y=Y).p.fit().run(20)
    assert hook.calls[-1] == "end"
    assert (tmp_path / "ckpt-2.npz").exists()


def test_predictions_are_those_of_the_program_in_memory(tmp_path):
    folder = tmp_path / "chain"
    est = estimator(folder, keep_checkpoint_max=2, save_checkpoints_steps=1000)
    est.train((X, Y), steps=3)
    chain = pairs.init_model("est", est).train_model("est", B.x, B.y)
    chain = chain.predict_model("est", B.x, save_to=B.told)
    chain = chain.predict_model("est", B.x, fetches=["double", "value"], save_to=B.two)
    alone = estimator(tmp_path / "alone")
    alone.train((X, Y), steps=3)
    for batch in chain.gen_batch(10):
        alone.train((batch.x, batch.y), steps=1)
        expected = list(alone.predict(batch.x))
        np.testing.assert_array_equal(batch.told["value"], [one["value"] for one in expected])
        np.testing.assert_array_equal(batch.two[0], batch.told["double"])
        assert [name for name in files(folder) if name.endswith("z")] == ["ckpt-3.npz"]

    assert [name for name in files(folder) if name.endswith("z")] == ["ckpt-3.npz", "ckpt-7.npz"]
    assert_same(state(est), state(alone))
    with pytest.raises(UnknownNameError, match="Did you mean 'value'"):
        chain.predict_model("est", B.x, fetches="valu", save_to=B.one).run(10)


def test_an_evaluation_is_that_of_evaluate_without_a_checkpoint(tmp_path):
    est = estimator(tmp_path)
    chain = pairs.init_variable("mae", init=list).init_model("est", est)
    chain = chain.train_model("est", B.x, B.y).evaluate_model("est", B.x, B.y, save_to=B.scores)
    chain = chain.evaluate_model("est", B.x, B.y, fetches="mae", save_to=V("mae", "a"))
    for batch in chain.gen_batch(10, prefetch=2):
        assert est.latest_checkpoint() is None
        last = batch
    assert last.scores.keys() == {"loss", "mae", "global_step"}
    expected = est.evaluate((last.x, last.y))
    assert last.scores == pytest.approx(expected)
    assert chain.v("mae")[-1] == pytest.approx(expected["mae"])
