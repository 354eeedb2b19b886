"""Document 001: hooks of training, evaluation and prediction, of both kinds."""

import pytest
from models.document_001.kit import (
    MEANS,
    Losses,
    X,
    batches,
    endless,
    learning,
    reader,
    reading,
)
from models.document_001.rows import row
from models.document_kit import assert_same_bits, keras, step_of, values

from batchflow.models import Estimator, EstimatorSpec

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return reader(tmp_path_factory.mktemp("live")).train(batches, steps=1)


class Recorder(Losses):
    """A session-run-hook object that notes its calls. It is no subclass of anything."""

    def __init__(self, stops_after=None):
        super().__init__()
        self.calls = []
        self.contexts = []
        self.results = []
        self._stops_after = stops_after

    def begin(self):
        self.calls.append("begin")

    def before_run(self, run_context):
        self.calls.append("before")
        self.contexts.append(run_context)

    def after_run(self, run_context, run_values):
        self.calls.append("after")
        assert run_context is self.contexts[-1]
        self.results.append(run_values.results)
        if len(self.results) == self._stops_after:
            run_context.request_stop()

    def end(self, session):
        self.calls.append("end")


def callback(kind):
    """Make a callback that notes its calls of a kind: train, test or predict."""

    class Recording(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []
            self.batches = []

    def note(method, has_batch):
        def called(self, *args):
            self.calls.append(method)
            if has_batch:
                self.batches.append(args[0])

        return called

    for moment in ("begin", "end"):
        setattr(Recording, f"on_{kind}_{moment}", note(moment, False))
        setattr(Recording, f"on_{kind}_batch_{moment}", note(f"batch {moment}", True))
    return Recording()


def looped(estimator, kind, input_fn=batches, **options):
    """Run one of the three loops; give how many batches it has read."""
    n_read = 0

    def counted():
        nonlocal n_read
        for batch in input_fn():
            n_read += 1
            yield batch

    loop = {"train": "train", "test": "evaluate", "predict": "predict"}[kind]
    result = getattr(estimator, loop)(counted, **options)
    if kind == "predict":
        result = list(result)
    return n_read, result


KINDS = ["train", "test", "predict"]


@row("train.hooks", "evaluate.hooks", "predict.hooks")
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_run_hook_is_called_around_each_batch(row, kind, live):
    hook = Recorder()
    looped(live, kind, hooks=[hook])
    assert hook.calls == ["begin", *["before", "after"] * 3, "end"]
    assert len(set(map(id, hook.contexts))) == 3
    if kind == "train":
        assert [float(logs["loss"]) for logs in hook.results] == MEANS
    if kind == "test":  # of all batches so far
        assert [float(logs["loss"]) for logs in hook.results] == pytest.approx([1.5, 3.5, 5.5])


@row("train.hooks", "evaluate.hooks", "predict.hooks")
@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_is_called_around_each_batch(row, kind, live):
    hook = callback(kind)
    looped(live, kind, hooks=[hook])
    assert hook.calls == ["begin", *["batch begin", "batch end"] * 3, "end"]
    assert isinstance(hook.model, keras.Model)
    first = hook.batches[0]
    assert hook.batches == [first + number // 2 for number in range(6)]


@row("train.hooks")
def test_the_number_of_a_batch_is_the_global_step(row, live):
    hook = callback("train")
    before = step_of(live)
    live.train(endless, steps=2, hooks=[hook])
    assert hook.batches == [before, before, before + 1, before + 1]


@row("train.hooks", "evaluate.hooks", "predict.hooks")
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_run_hook_may_ask_for_the_end(row, kind, live):
    hook = Recorder(stops_after=2)
    n_read, _ = looped(live, kind, input_fn=endless, hooks=[hook])
    assert hook.calls == ["begin", *["before", "after"] * 2, "end"]
    assert n_read == 2
    assert looped(live, kind)[0] == 3  # the next call is not stopped


@row("train.hooks")
def test_callbacks_of_keras_do_their_work(row, tmp_path):
    import math

    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        return EstimatorSpec(mode, spec.predictions, spec.loss / 0.0, train_op=spec.train_op)

    estimator = Estimator(model_fn, str(tmp_path))
    seen = Losses()
    hooks = [keras.callbacks.TerminateOnNaN(), seen]
    estimator.train(endless, steps=100, hooks=hooks)
    assert step_of(estimator) == 1
    assert not math.isfinite(seen.losses[0])


@row("train.hooks")
def test_callbacks_that_change_the_learning_rate_do_their_work(row, tmp_path):
    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        sgd = keras.optimizers.SGD(1.0)
        return EstimatorSpec(mode, spec.predictions, spec.loss, train_op=sgd)

    class Freeze(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.0

    estimator = Estimator(model_fn, str(tmp_path)).train(endless, steps=3, hooks=[Freeze()])
    assert estimator.get_variable_value("w/kernel").item() == 1.0


@row("train.hooks")
def test_hooks_are_called_in_their_order_those_of_the_spec_first(row, tmp_path):
    order = []

    class Named(Losses):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def after_run(self, run_context, run_values):
            order.append(self.name)

    class Callback:
        def __new__(cls, name):
            class Made(keras.callbacks.Callback):
                def on_train_batch_end(self, batch, logs=None):
                    order.append(name)

            return Made()

    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        return EstimatorSpec(
            mode,
            spec.predictions,
            spec.loss,
            spec.train_op,
            training_hooks=[Named("spec, train")],
            evaluation_hooks=[Named("spec, eval")],
            prediction_hooks=[Named("spec, predict")],
        )

    estimator = Estimator(model_fn, str(tmp_path))
    estimator.train(batches, steps=1, hooks=[Named("a"), Callback("b"), Named("c")])
    assert order == ["spec, train", "a", "b", "c"]
    order.clear()
    estimator.evaluate(batches, steps=1, hooks=(Named("a"),))
    next(estimator.predict(batches))
    assert order == ["spec, eval", "a", "spec, predict"]


@row("train.hooks", "evaluate.hooks", "predict.hooks")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrong",
    [
        [3],
        [print],
        ["hook"],
        [None],
        [Losses],  # the class, not an object
        [type("Half", (), {"begin": print, "end": print})()],
        Losses(),  # not a list
        "hooks",
    ],
    ids=["int", "function", "str", "None", "class", "half", "no list", "a word"],
)
def test_what_is_no_hook_is_refused(row, wrong, kind, live):
    before = step_of(live)
    with pytest.raises(TypeError, match="hook"):
        looped(live, kind, hooks=wrong)
    assert step_of(live) == before


@row("train.hooks")
def test_a_hook_that_asks_for_tensors_is_told_that_there_is_no_session(row, tmp_path):
    class Asking(Losses):
        def before_run(self, run_context):
            return ["loss:0"]

    with pytest.raises(TypeError, match="session"):
        reader(tmp_path).train(batches, hooks=[Asking()])


@row("train.hooks", "evaluate.hooks", "predict.hooks")
@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_run_hook_of_tensorflow_is_one(row, kind, live):
    import tensorflow as tf

    class Counting(tf.compat.v1.train.SessionRunHook):
        n_batches = n_ends = 0

        def after_run(self, run_context, run_values):
            self.n_batches += 1

        def end(self, session):
            self.n_ends += 1

    hook = Counting()
    looped(live, kind, hooks=[hook])
    assert (hook.n_batches, hook.n_ends) == (3, 1)


@row("train.hooks")
@pytest.mark.parametrize("moment", ["begin", "before_run", "after_run", "end"])
def test_an_error_of_a_hook_arrives_and_leaves_what_was_saved(row, moment, tmp_path):
    class OwnError(Exception): ...

    hook = Losses()

    def fail(*args):
        raise OwnError

    setattr(hook, moment, fail)
    estimator = reader(tmp_path).train(batches, steps=2)
    with pytest.raises(OwnError):
        estimator.train(batches, hooks=[hook])
    assert step_of(estimator) == 2
    assert step_of(estimator.train(batches, steps=1)) == 3


@row("train.hooks")
def test_a_finished_training_calls_no_hooks(row, tmp_path):
    estimator = reader(tmp_path).train(endless, max_steps=2)
    hook = Recorder()
    estimator.train(endless, max_steps=2, hooks=[hook])
    assert hook.calls == []


@row("train.hooks", "evaluate.hooks")
def test_a_hook_may_evaluate_and_predict_in_the_middle(row, tmp_path):
    plain = Estimator(learning, str(tmp_path / "plain")).train(endless, steps=8)
    estimator = Estimator(learning, str(tmp_path / "asked"))
    asked = []

    class Ask(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch % 3 == 2:
                results = estimator.evaluate(batches)
                asked.append((results["global_step"], len(list(estimator.predict(lambda: X)))))

    estimator.train(endless, steps=8, hooks=[Ask()])
    assert asked == [(3, 12), (6, 12)]
    assert_same_bits(values(plain), values(estimator))
