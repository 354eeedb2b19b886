"""Hooks of train, evaluate and predict: Keras callbacks and session run hooks."""

import keras
import numpy as np
import pytest
from models.estimator.nets import batches, model_fn, one_epoch

from batchflow.models import Estimator, EstimatorSpec

pytestmark = pytest.mark.tensorflow


class Callback(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.events = []

    def on_train_begin(self, logs=None):
        self.events.append("begin")

    def on_train_batch_begin(self, batch, logs=None):
        self.events.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(float(logs["loss"]) > 0)

    def on_train_end(self, logs=None):
        self.events.append("end")

    on_test_begin = on_predict_begin = on_train_begin
    on_test_batch_begin = on_predict_batch_begin = on_train_batch_begin
    on_test_batch_end = on_train_batch_end
    on_test_end = on_predict_end = on_train_end


class SessionHook:
    def __init__(self, stop_at=None, asks=None):
        self.events, self.losses = [], []
        self.stop_at, self.asks = stop_at, asks

    def begin(self):
        self.events.append("begin")

    def before_run(self, run_context):
        self.events.append("before")
        return self.asks

    def after_run(self, run_context, run_values):
        self.events.append("after")
        self.losses.append(run_values.results)
        if len(self.losses) == self.stop_at:
            run_context.request_stop()

    def end(self, session):
        self.events.append(("end", session))


@pytest.fixture
def estimator(tmp_path):
    return Estimator(model_fn, tmp_path)


def test_a_callback_hears_of_every_step_by_its_number(estimator):
    hook = Callback()
    estimator.train(batches, steps=2, hooks=[hook])
    assert hook.events == ["begin", 0, True, 1, True, "end"]
    estimator.train(batches, steps=1, hooks=[hook])
    assert hook.events[6:] == ["begin", 2, True, "end"]


def test_a_session_run_hook_hears_of_every_step(estimator):
    hook = SessionHook()
    estimator.train(batches, steps=2, hooks=[hook])
    assert hook.events == ["begin", "before", "after", "before", "after", ("end", None)]
    assert all(np.isfinite(logs["loss"]) for logs in hook.losses)


def test_evaluation_and_prediction_have_hooks_too(estimator):
    estimator.train(batches, steps=1)
    callback, hook = Callback(), SessionHook()
    estimator.evaluate(batches, steps=2, hooks=[callback, hook])
    assert callback.events == ["begin", 0, True, 1, True, "end"]
    assert "accuracy" in hook.losses[0]
    callback, hook = Callback(), SessionHook()
    list(estimator.predict(lambda: batches(60, 1), hooks=[callback, hook]))
    assert callback.events == ["begin", 0, 1, "end"]
    assert hook.losses[0]["outputs"]["classes"].shape == (60,)


def test_a_hook_stops_training_after_its_step(estimator):
    hook = SessionHook(stop_at=3)
    estimator.train(batches, max_steps=10, hooks=[hook])
    assert estimator.get_variable_value("global_step") == 3
    assert hook.events[-1] == ("end", None)
    assert estimator.train(batches, max_steps=5).get_variable_value("global_step") == 5


def test_a_callback_of_keras_stops_training(estimator):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    estimator.train(batches, steps=10, hooks=[Stop(), keras.callbacks.TerminateOnNaN()])
    assert estimator.get_variable_value("global_step") == 2


def test_hooks_stop_evaluation_and_prediction(estimator):
    estimator.train(batches, steps=1)
    hook = SessionHook(stop_at=2)
    estimator.evaluate(one_epoch, hooks=[hook])
    assert len(hook.losses) == 2
    hook = SessionHook(stop_at=2)
    assert len(list(estimator.predict(one_epoch, hooks=[hook]))) == 20


@pytest.mark.parametrize("wrong", [object(), "hook", SessionHook, print])
def test_anything_else_is_refused(estimator, wrong):
    estimator.train(batches, steps=1)
    with pytest.raises(TypeError, match="a hook is a keras"):
        estimator.train(batches, steps=1, hooks=[wrong])
    with pytest.raises(TypeError, match="a hook is a keras"):
        estimator.evaluate(batches, steps=1, hooks=[wrong])
    with pytest.raises(TypeError, match="a hook is a keras"):
        next(estimator.predict(one_epoch, hooks=[wrong]))
    with pytest.raises(TypeError, match="hooks is a list"):
        estimator.train(batches, steps=1, hooks=wrong)


def test_a_hook_that_wants_to_fetch_is_told_that_there_is_no_session(estimator):
    with pytest.raises(TypeError, match="no session"):
        estimator.train(batches, steps=1, hooks=[SessionHook(asks="loss:0")])


class Params(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.found = dict(self.params)

    on_test_begin = on_predict_begin = on_train_begin


def test_a_callback_knows_up_to_which_number_steps_are_done(estimator):
    hook = Params()

    def found(call, *arguments, **options):
        result = call(*arguments, hooks=[hook], **options)
        if call == estimator.predict:
            list(result)
        return hook.found

    known = {"verbose": 1, "epochs": 1}
    assert found(estimator.train, batches, steps=3) == {**known, "steps": 3}
    assert found(estimator.train, batches, max_steps=5) == {**known, "steps": 5}
    assert found(estimator.train, one_epoch) == {**known, "steps": None}
    assert found(estimator.evaluate, batches, steps=2) == {**known, "steps": 2}
    assert found(estimator.evaluate, one_epoch) == {**known, "steps": None}
    assert found(estimator.predict, one_epoch) == {**known, "steps": None}


def test_the_progress_bar_of_keras_is_a_hook(estimator, capsys):
    estimator.train(batches, steps=3, hooks=[keras.callbacks.ProgbarLogger()])
    shown = capsys.readouterr().out
    assert "3/3" in shown
    assert "loss" in shown
    estimator.train(batches, steps=2, hooks=[keras.callbacks.ProgbarLogger()])
    assert "5/5" in capsys.readouterr().out
    estimator.train(one_epoch, hooks=[keras.callbacks.ProgbarLogger()])
    assert "17/17" in capsys.readouterr().out
    estimator.evaluate(batches, steps=2, hooks=[keras.callbacks.ProgbarLogger()])
    assert "2/2" in capsys.readouterr().out
    list(estimator.predict(one_epoch, hooks=[keras.callbacks.ProgbarLogger()]))
    assert "12/12" in capsys.readouterr().out


@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize(
    ("name", "arguments", "instead"),
    [
        ("LoggingTensorHook", ({"loss": "loss:0"}, 1), "log_step_count_steps"),
        ("StopAtStepHook", (3,), "max_steps"),
        ("StepCounterHook", (), "log_step_count_steps"),
        ("CheckpointSaverHook", ("folder", None, 1), "save_checkpoints_steps"),
        ("NanTensorHook", ("loss",), "TerminateOnNaN"),
        ("SummarySaverHook", (1, None, "folder", None, "summary"), "keras.callbacks.TensorBoard"),
        ("FinalOpsHook", ("loss",), "keras.callbacks.Callback"),
    ],
)
def test_a_hook_that_needs_a_graph_says_what_to_give_instead(
    estimator, name, arguments, instead, tmp_path, monkeypatch
):
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    hook = getattr(tf.compat.v1.train, name)(*arguments)
    with pytest.raises(Exception) as caught:
        estimator.train(batches, steps=1, hooks=[hook])
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "session" in text
    assert instead in text


@pytest.mark.backends("tensorflow")
def test_an_error_of_an_own_session_run_hook_has_no_such_note(estimator):
    import tensorflow as tf

    class Own(tf.compat.v1.train.SessionRunHook):
        def begin(self):
            raise LookupError("own")

    with pytest.raises(LookupError) as caught:
        estimator.train(batches, steps=1, hooks=[Own()])
    assert not getattr(caught.value, "__notes__", ())


def test_hooks_of_the_spec_are_called_first(tmp_path):
    order = []

    class Tells(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def on_train_begin(self, logs=None):
            order.append(self.name)

        on_test_begin = on_predict_begin = on_train_begin

    def hooked(features, labels, mode):
        results = keras.layers.Dense(1)(features["x"])
        kind = {"train": "training", "eval": "evaluation", "infer": "prediction"}[mode]
        return EstimatorSpec(
            mode,
            predictions=results,
            loss=keras.ops.mean(results),
            train_op=keras.optimizers.SGD(),
            **{f"{kind}_hooks": [Tells(f"spec {kind}")]},
        )

    estimator = Estimator(hooked, tmp_path).train(batches, steps=1, hooks=[Tells("own")])
    estimator.evaluate(batches, steps=1, hooks=[Tells("own")])
    list(estimator.predict(one_epoch, hooks=[Tells("own")]))
    kinds = ("training", "evaluation", "prediction")
    assert order == [name for kind in kinds for name in (f"spec {kind}", "own")]


def test_an_error_of_a_hook_arrives_and_nothing_of_the_call_is_kept(estimator):
    class Breaks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise ZeroDivisionError

    estimator.train(batches, steps=2)
    with pytest.raises(ZeroDivisionError):
        estimator.train(batches, steps=5, hooks=[Breaks()])
    assert estimator.train(batches, steps=1).get_variable_value("global_step") == 3
