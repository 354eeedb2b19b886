"""One step of a Keras model's optimizer, compiled.

`train_on_batch` spends as much time around a small step as in it: it resets the metrics one by one,
and waits for the loss. Here the reset is compiled together with the model's own `train_step`, and
the values stay on the device until somebody reads them.

| backend | the step |
|---|---|
| TensorFlow | a `tf.function`, by XLA only where the model's `jit_compile` says so |
| JAX | `jax.jit` with donated weights |
| torch | `train_on_batch` |

`train_on_batch` also does what is compiled nowhere else: models with `run_eagerly=True`, under a
distribution, with a `train_on_batch`, `make_train_function` or `train_function` of their own, and
`class_weight`.

Guarantees:
    - *Same bits*: weights, optimizer, seeds, metrics and values are those that `train_on_batch`
      leaves and gives for the same batches.
    - *This batch alone*: metrics are reset before the step, and hold this batch after it.
    - *Never stale*: the compiled step is kept with the model's `train_function`. Whatever makes
      Keras forget that (`compile()`, `make_train_function(force=True)`) makes a new step; `fit` in
      between disturbs nothing. It goes with its model.
    - *Few traces*: on TensorFlow at most two, one for the first batch size and one for all others
      (one more where the first creates the variables of metrics). JAX compiles once per shape.
    - *Bounded*: of the values of a model at most `N_UNREAD` are on the device; then all are read.

A `reset_state` of a metric runs when the step is traced, as its `update_state` does in Keras.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from batchflow.errors import ArgumentValueError, ModelDefinitionError
from batchflow.models.lazy import LazyValue

__all__ = ["N_UNREAD", "train_on_batch", "train_on_batches"]

N_UNREAD = 1024  # a read waits for all that the device has been given: rarely is often enough
N_SIGNATURES = 256  # of batches; they share two graphs

Logs = dict[str, Any]


def train_on_batch(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Logs:
    """Do one step of the optimizer on one batch.

    Args:
        model: A compiled `keras.Model`.
        args: `x`, `y`, `sample_weight`, `class_weight`, as in `keras.Model.train_on_batch`.
        kwargs: The same, by name.

    Returns:
        The loss and the metrics of this batch alone, by name: a `LazyValue` for each number. What
        is no number (a metric per class) is as Keras gives it.

    Raises:
        ModelDefinitionError: The model is not compiled.
    """
    step = _step_of(model)
    by_name = {name: value for name, value in kwargs.items() if name != "return_dict"}
    if step is None or len(args) > 3 or by_name.get("class_weight") is not None:
        return _lazy(model.train_on_batch(*args, **{**by_name, "return_dict": True}))
    by_name.pop("class_weight", None)
    return step(*args, **by_name)


def train_on_batches(model: Any, batches: Sequence[Sequence[Any]]) -> list[Logs]:
    """Do one step of the optimizer on each of several batches, in one call where that is compiled.

    Args:
        model: A compiled `keras.Model`.
        batches: `(x, y)` or `(x, y, sample_weight)` each. One call is traced per number of batches
            and their shapes, so that batches of one size, and one number of them, are best.

    Returns:
        What `train_on_batch` would have given for each, in order.

    Raises:
        ArgumentValueError: A batch is not of that form.
        ModelDefinitionError: The model is not compiled.
    """
    step = _step_of(model)
    if not all(1 <= len(batch) <= 3 for batch in batches):
        raise ArgumentValueError("each batch is (x, y) or (x, y, sample_weight)")
    if isinstance(step, _TensorFlowStep) and len(batches) > 1 and step.is_complete:
        return step.several(batches)
    return [train_on_batch(model, batch, {}) for batch in batches]


def _step_of(model: Any) -> _Step | None:
    """Give the compiled step of a model, made if need be, or None where Keras's own must do."""
    if not model.compiled:
        raise ModelDefinitionError(
            f"the Keras model {model.name!r} is not compiled, so it has no optimizer and no loss "
            f"to train with: call compile(optimizer, loss) where it is made"
        )
    function = model.train_function
    if function is None:
        model.make_train_function()  # traces nothing yet
        function = model.train_function
    try:
        return function._batchflow_step  # type: ignore[no-any-return]
    except AttributeError:
        is_keras = isinstance(function, FunctionType) and function.__module__.startswith("keras.")
        step = _make_step(model) if is_keras else None
        if is_keras:
            function._batchflow_step = step
        return step


def _make_step(model: Any) -> _Step | None:
    keras = sys.modules["keras"]
    own = ("train_on_batch", "make_train_function")
    if model.run_eagerly or any(
        getattr(type(model), name) is not getattr(keras.Model, name) for name in own
    ):
        return None
    make = {"tensorflow": _TensorFlowStep.of, "jax": _JaxStep.of}.get(keras.backend.backend())
    return None if make is None else make(model)


def _lazy(logs: Any, unread: list[weakref.ref[LazyValue]] | None = None) -> Logs:
    """Name and order the values of a step as Keras does, and read none of them."""
    values: Logs = {}
    for name, value in sorted((logs or {}).items()):
        if isinstance(value, Mapping):
            values.update(_lazy(value, unread))
        elif getattr(value, "shape", ()) == ():
            values[name] = lazy = LazyValue(value)
            if unread is not None:
                unread.append(weakref.ref(lazy))
        else:
            values[name] = value
    return values


class _Step:
    """What the steps of the backends share: the values that nobody has read yet."""

    def __init__(self, model: Any) -> None:
        # Strong: the step is kept by the model's own train_function, and goes with both.
        self._model = model
        self._unread: list[weakref.ref[LazyValue]] = []

    def __call__(self, x: Any, y: Any = None, sample_weight: Any = None) -> Logs:
        raise NotImplementedError

    def _values(self, logs: Any) -> Logs:
        if len(self._unread) >= N_UNREAD:
            for value in (reference() for reference in self._unread):
                if value is not None:
                    float(value)
            self._unread.clear()
        return _lazy(logs, self._unread)


# ---- TensorFlow


class _TensorFlowStep(_Step):
    """A `tf.function` over the reset of the metrics and the model's `train_step`.

    Attributes:
        is_complete: Whether the trace resets all metrics. A first one may create some of them.
    """

    @classmethod
    def of(cls, model: Any) -> _TensorFlowStep | None:
        tf = sys.modules["tensorflow"]
        if model._distribute_strategy is not None or tf.distribute.has_strategy():
            return None
        return cls(model, tf)

    def __init__(self, model: Any, tf: Any) -> None:
        super().__init__(model)
        self._tf = tf
        # Graphs by the shapes and dtypes that they take. To find one costs a tf.function a third
        # of a small step.
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self.is_complete = False
        self._compile()

    def _compile(self) -> None:
        self._model.reset_metrics()
        self._one = self._function(self._train)
        self._several = self._function(lambda batches: [self._train(*batch) for batch in batches])

    def _function(self, python: Callable[..., Any]) -> Any:
        return self._tf.function(
            python, reduce_retracing=True, autograph=False, jit_compile=self._model.jit_compile
        )

    def _train(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        model = self._model
        n_known = len(model.metrics_variables)
        model.reset_metrics()
        logs = model.train_step((x, y, sample_weight))
        self.is_complete = n_known == len(model.metrics_variables)
        return logs

    def __call__(self, x: Any, y: Any = None, sample_weight: Any = None) -> Logs:
        data = x, y, sample_weight
        if not all(part is None or type(part) is np.ndarray for part in data):
            return self._values(self._traced(data))
        signature = tuple(part if part is None else (part.shape, part.dtype) for part in data)
        graph = self._graphs.get(signature)
        tensors = [self._tensor(part) for part in data]
        if graph is None or self._tf.config.functions_run_eagerly():
            return self._values(self._traced(tensors, signature))
        return self._values(graph(*tensors))

    def _traced(self, data: Sequence[Any], signature: Any = None) -> Any:
        """Call the `tf.function`, which traces if it must, and keep its graph for next time."""
        try:
            logs = self._one(*data)
        except Exception:
            if not self.is_complete:
                self._compile()  # tf.function refuses to create variables after a first failure
            raise
        if not self.is_complete:
            self.is_complete = True
            self._one = self._function(self._train)
        elif signature is not None:
            if len(self._graphs) >= N_SIGNATURES:
                self._graphs.clear()
            self._graphs[signature] = self._one.get_concrete_function(*data)
        return logs

    def several(self, batches: Sequence[Sequence[Any]]) -> list[Logs]:
        """Do a step for each of several batches, in one call."""
        several = self._several([[self._tensor(part) for part in batch] for batch in batches])
        return [self._values(logs) for logs in several]

    def _tensor(self, value: Any) -> Any:
        # A tf.function would do the same to an array, slower.
        return self._tf.convert_to_tensor(value) if type(value) is np.ndarray else value


# ---- JAX


class _JaxStep(_Step):
    """A jitted `train_step`, and the model's variables to which it is applied.

    The state of the metrics goes in as it is after a reset, and is not donated.
    """

    @classmethod
    def of(cls, model: Any) -> _JaxStep | None:
        keras = sys.modules["keras"]
        if not model.jit_compile or model.optimizer is None or keras.config.is_nnx_enabled():
            return None
        if keras.distribution.distribution() is not None:
            return None
        return cls(model)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        jax = sys.modules["jax"]
        self._groups: list[list[Any]] = []
        self._fresh: list[Any] = []
        self._copy = jax.numpy.array
        self._one = jax.jit(
            lambda state, metrics, data: model.train_step((*state, metrics), data),
            donate_argnums=0,
        )

    def __call__(self, x: Any, y: Any = None, sample_weight: Any = None) -> Logs:
        data = (x, y, sample_weight)
        if not self._groups:
            self._build(data)
        *state, _ = ([variable.value for variable in group] for group in self._groups)
        logs, new = self._one(state, self._fresh, data)
        for group, values in zip(self._groups, new, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return self._values(logs)

    def _build(self, data: Any) -> None:
        """Let Keras create what is not there yet, and list the variables, once per `compile()`."""
        model = self._model
        model._symbolic_build(data_batch=data)
        model.reset_metrics()
        self._groups = [
            list(model.trainable_variables),
            list(model.non_trainable_variables),
            list(model.optimizer.variables),
            list(model.metrics_variables),
        ]
        # Copies: Keras donates those of its variables.
        self._fresh = [self._copy(variable.value) for variable in self._groups[-1]]
