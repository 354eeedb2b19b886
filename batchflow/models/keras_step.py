"""One step of a Keras model's optimizer, compiled.

`train_on_batch` spends as much time around a small step as in it: it resets the metrics one by one,
and waits for the loss. Here the reset is compiled together with the model's own `train_step`, and
the values stay on the device until they are read.

| backend | the step | several in one call |
|---|---|---|
| TensorFlow | a `tf.function` (`step_tensorflow`) | yes |
| JAX | `jax.jit` with donated state (`step_jax`) | yes |
| torch | as `train_on_batch`, and nothing is read (`step_torch`) | single steps |

A test is compiled likewise on TensorFlow; elsewhere it is Keras's own `test_on_batch`.

Keras's own `train_on_batch` takes all steps that cannot be compiled here: those of models with
`run_eagerly=True`, under a distribution, or with a `train_on_batch`, `make_train_function` or
`train_function` of their own, and those with `class_weight`.

Guarantees:
    - *Same bits*: weights, optimizer, seeds, metrics and values are the same as after
      `train_on_batch` on the same batches.
    - *This batch alone*: metrics are reset before the step, and hold this batch after it; with
      `reset_metrics=False` they go on, as in Keras's `fit`.
    - *Never stale*: the compiled step is kept with the model's `train_function`. A call that makes
      Keras forget that (`compile()`, `make_train_function(force=True)`) leads to a new step; `fit`
      in between disturbs nothing. The step is freed with its model.

A `reset_state` of a metric runs when the step is traced, as its `update_state` does in Keras.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, Literal, NamedTuple

from batchflow.errors import ArgumentTypeError, ModelDefinitionError
from batchflow.models import keras_metrics
from batchflow.models.step import Data, Logs, Step, lazy_logs, shape_of


class _Asked(NamedTuple):
    """The arguments of a step, by name."""

    x: Any
    y: Any = None
    sample_weight: Any = None
    class_weight: Any = None
    reset_metrics: bool = True

    @classmethod
    def by(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Asked:
        if "return_dict" in kwargs:
            kwargs = {name: value for name, value in kwargs.items() if name != "return_dict"}
        try:
            return cls(*args, **kwargs)
        except TypeError as error:
            raise ArgumentTypeError(
                f"a step of a Keras model takes {', '.join(cls._fields)}, return_dict: "
                f"got {len(args)} by position and {', '.join(kwargs) or 'none'} by name"
            ) from error

    @property
    def is_compiled(self) -> bool:
        return self.class_weight is None

    @property
    def data(self) -> Data:
        return Data(self.x, self.y, self.sample_weight)


def train_on_batch(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Logs:
    """Do one step of the optimizer on one batch.

    Args:
        model: A compiled `keras.Model`.
        args: `x`, `y`, `sample_weight`, `class_weight`, as in `keras.Model.train_on_batch`.
        kwargs: The same, by name, and `reset_metrics`.

    Returns:
        The loss and the metrics, by name: a `LazyValue` for each number. Other values, such as a
        metric per class, are those of Keras.

    Raises:
        ArgumentTypeError: The arguments do not fit.
        ModelDefinitionError: The model is not compiled.
    """
    step = _step_of(model)
    if model in keras_metrics.waiting:
        put_metrics(model, args, kwargs)
    if step is not None:
        asked = _Asked.by(args, kwargs)
        if asked.is_compiled:
            return step.one(asked.data, bool(asked.reset_metrics))
    return _by_keras(model, args, kwargs)


def train_on_batches(
    model: Any,
    calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]],
    n_per_call: int | None = None,
) -> list[Logs]:
    """Do one step of the optimizer on each of several batches, in one compiled call if possible.

    That takes batches of one shape without `class_weight`, and metrics that are reset by all of
    them, by none, or by the first alone. Otherwise single steps are done.

    Args:
        model: A compiled `keras.Model`.
        calls: The arguments of each step, as for `train_on_batch`.
        n_per_call: How many steps a compiled call is made of. For another number of calls single
            steps are done. None: as many as there are.

    Returns:
        The result of `train_on_batch` for each, in order.

    Raises:
        ArgumentTypeError: The arguments of a call do not fit.
        ModelDefinitionError: The model is not compiled.
    """
    step = _step_of(model)
    if calls and model in keras_metrics.waiting:
        put_metrics(model, *calls[0])
    if step is not None and len(calls) > 1 and n_per_call in (None, len(calls)):
        asked = [_Asked.by(*call) for call in calls]
        first, *others = [one.data for one in asked]
        first_resets, *others_reset = [bool(one.reset_metrics) for one in asked]
        shape = shape_of(first)
        if (
            all(one.is_compiled for one in asked)
            and len(set(others_reset)) == 1
            and all(shape_of(data) == shape for data in others)
        ):
            logs = step.several([first, *others], first_resets, others_reset[0])
            if logs is not None:
                return logs
    return [train_on_batch(model, *call) for call in calls]


def test_on_batch(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Logs:
    """Return the loss and the metrics of one batch, by name, as `train_on_batch` does.

    Args:
        model: A compiled `keras.Model`.
        args: `x`, `y`, `sample_weight`, as in `keras.Model.test_on_batch`.
        kwargs: The same, by name, and `reset_metrics`.

    Raises:
        ArgumentTypeError: The arguments do not fit.
        ModelDefinitionError: The model is not compiled.
    """
    step = _step_of(model, "test")
    if model in keras_metrics.waiting:
        put_metrics(model, args, kwargs)
    asked = _Asked.by(args, kwargs)
    if not asked.is_compiled:
        raise ArgumentTypeError("class_weight is for training; a test takes sample_weight")
    if step is not None and asked.reset_metrics:
        return step.one(asked.data, True)
    with _metrics_going_on(model, not asked.reset_metrics):
        return lazy_logs(model.test_on_batch(*asked.data, return_dict=True))


def _by_keras(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Logs:
    kwargs = {**kwargs, "return_dict": True}
    with _metrics_going_on(model, not kwargs.pop("reset_metrics", True)):
        return lazy_logs(model.train_on_batch(*args, **kwargs))


def put_metrics(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Put the values of metrics that wait for a step into the model; nothing where it resets."""
    if kwargs.get("reset_metrics", True) and len(args) < len(_Asked._fields):
        del keras_metrics.waiting[model]
    else:
        known = {name: value for name, value in kwargs.items() if name in _Asked._fields}
        keras_metrics.put_waiting(model, _Asked.by(args, known).data)


@contextlib.contextmanager
def _metrics_going_on(model: Any, is_asked: bool) -> Iterator[None]:
    """Keep Keras from resetting the metrics of a model."""
    if not is_asked:
        yield
        return
    object.__setattr__(model, "reset_metrics", lambda: None)  # the attribute is not tracked
    try:
        yield
    finally:
        object.__delattr__(model, "reset_metrics")


def _step_of(model: Any, what: Literal["train", "test"] = "train") -> Step | None:
    """Return the compiled step of a model, made if need be; None if Keras's own step is needed."""
    _check_compiled(model)
    function = getattr(model, f"{what}_function")
    if function is None:
        if sys.modules["keras"].distribution.distribution() is not None:
            return None  # Keras makes it once all variables exist, and fixes their devices then
        getattr(model, f"make_{what}_function")()  # traces nothing yet
        function = getattr(model, f"{what}_function")
    try:
        return function._batchflow_step  # type: ignore[no-any-return]
    except AttributeError:
        is_keras = isinstance(function, FunctionType) and function.__module__.startswith("keras.")
        step = _make_step(model, what) if is_keras else None
        if is_keras:
            function._batchflow_step = step
        return step


def _check_compiled(model: Any) -> None:
    if not model.compiled:
        raise ModelDefinitionError(
            f"the Keras model {model.name!r} is not compiled, so it has no optimizer and no loss "
            f"to train with: call compile(optimizer, loss) where it is made"
        )


def _make_step(model: Any, what: Literal["train", "test"]) -> Step | None:
    keras = sys.modules["keras"]
    own = (f"{what}_on_batch", f"make_{what}_function")
    if model.run_eagerly or any(
        getattr(type(model), name) is not getattr(keras.Model, name) for name in own
    ):
        return None
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from batchflow.models.step_tensorflow import TensorFlowStep, TensorFlowTest

        return (TensorFlowStep if what == "train" else TensorFlowTest).of(model)
    if what == "test":
        return None
    if backend == "jax":
        from batchflow.models.step_jax import JaxStep

        return JaxStep.of(model)
    if backend == "torch":
        from batchflow.models.step_torch import TorchStep

        return TorchStep(model)
    return None
