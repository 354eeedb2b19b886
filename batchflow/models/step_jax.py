"""The compiled step on JAX: a jitted `train_step` with donated state.

It is compiled once per shape of the batches.

Guarantees:
    - *The variables are the state*: it is read from them before a call and put there after it. So
      other code may assign to them and read them between steps.
    - The values that `train_step` returns for variables have their shapes and dtypes: that is
      checked where the step is compiled, and not again at each step.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from batchflow.models.step import Data, Logs, Step


class _At:
    """A number in an array on a device. The array is read once for all its numbers."""

    shape = ()

    def __init__(self, array: Any, number: int) -> None:
        self._array, self._number = array, number

    def __float__(self) -> float:
        return float(np.asarray(self._array)[self._number])


def _at(logs: Any, number: int) -> Any:
    """Return the values of one step of several."""
    if isinstance(logs, dict | Mapping):
        return {name: _at(value, number) for name, value in logs.items()}
    return _At(logs, number) if logs.ndim == 1 else logs[number]


def _on_top(*parts: Any) -> Any:
    # By NumPy where possible: one array goes to the device instead of many.
    return (np if type(parts[0]) is np.ndarray else sys.modules["jax"].numpy).stack(parts)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


class JaxStep(Step):
    """A jitted `train_step`, and the model's variables to which it is applied.

    The state of the metrics is not donated: after a reset it is the same for each step.
    """

    @classmethod
    def of(cls, model: Any) -> JaxStep | None:
        """Return the step of a model, or None if Keras's own step is needed."""
        keras = sys.modules["keras"]
        if not model.jit_compile or model.optimizer is None or keras.config.is_nnx_enabled():
            return None
        if keras.distribution.distribution() is not None:
            return None
        return cls(model)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        jax = sys.modules["jax"]
        self._convert, self._copy = jax.numpy.asarray, jax.numpy.array
        self._scan, self._map = jax.lax.scan, jax.tree.map
        self._jaxpr = jax.make_jaxpr
        self._groups: list[list[Any]] = []
        self._state: list[Any] = []
        self._metrics: list[Any] = []
        self._fresh: list[Any] = []
        self._assigned: list[Any] = []
        self._convolves: bool | None = None
        self._one = jax.jit(self._train, donate_argnums=0)
        self._several = jax.jit(self._trains, donate_argnums=0, static_argnums=3)

    def _train(self, state: list[Any], metrics: list[Any], data: Data) -> Any:
        values = iter(state)
        given = ([next(values) for _ in group] for group in self._groups[:-1])
        logs, new = self.model.train_step((*given, metrics), tuple(data))
        *made, metrics = (
            [self._fit(variable, value) for variable, value in zip(group, values, strict=True)]
            for group, values in zip(self._groups, new, strict=True)
        )
        return logs, list(chain(*made)), metrics

    def _fit(self, variable: Any, value: Any) -> Any:
        """Return a value in the form in which `variable.assign` would store it."""
        value = self._convert(value, variable.dtype)
        if tuple(value.shape) != tuple(variable.shape):
            raise ValueError(
                f"train_step gives a value of shape {value.shape} for the variable "
                f"{variable.path!r} of shape {variable.shape}"
            )
        return value

    def _trains(self, state: list[Any], metrics: list[Any], batches: Data, resets: bool) -> Any:
        # A scan: steps that are unrolled into a row are fused with their neighbours, which changes
        # their rounding.
        def train(carried: Any, data: Data) -> Any:
            state, metrics = carried
            logs, state, new = self._train(state, metrics, data)
            return (state, metrics if resets else new), (logs, new)

        (state, _), (logs, made) = self._scan(train, (state, metrics), batches)
        return logs, state, [values[-1] for values in made]

    def one(self, data: Data, resets: bool) -> Logs:
        """Do a step on one batch."""
        state, metrics = self._take(data, resets)
        logs, state, metrics = self._one(state, metrics, self._kept(data))
        self._put(state, metrics)
        return self._values(logs)

    def several(
        self, batches: Sequence[Data], first_resets: bool, others_reset: bool
    ) -> list[Logs] | None:
        """Do a step on each of several batches of one shape, in one call.

        Inside of a loop, convolutions are compiled in another way, several times slower and with
        other rounding. Models that have some take the single step for each batch.
        """
        if others_reset and not first_resets:
            return None
        state, metrics = self._take(batches[0], first_resets)
        if self._convolves is None:
            made = self._jaxpr(self._train)(state, metrics, batches[0])
            self._convolves = "conv_general_dilated" in str(made)
        if not self._convolves:
            stacked = self._stacked(batches)
            logs, state, metrics = self._several(state, metrics, stacked, others_reset)
            self._put(state, metrics)
            return [self._values(_at(logs, number)) for number in range(len(batches))]
        several = []
        try:
            for number, data in enumerate(batches):
                given = self._fresh if number and others_reset else metrics
                logs, state, metrics = self._one(state, given, self._kept(data))
                several.append(logs)
        finally:
            self._put(state, metrics)
        return [self._values(logs) for logs in several]

    def _kept(self, data: Data) -> Data:
        """Return data whose arrays are the step's own.

        A step reads the memory of large arrays where it lies, and may not have begun when its call
        returns: what the batch writes there afterwards would be trained on.
        """
        return Data(*(None if part is None else self._owned(part) for part in data))

    def _owned(self, part: Any) -> Any:
        # A tree of JAX, even of one array, costs 10 us.
        return part.copy() if type(part) is np.ndarray else self._map(_copied, part)

    def _stacked(self, batches: Sequence[Data]) -> Data:
        """Stack the arrays of several batches."""
        return self._map(_on_top, *batches)  # type: ignore[no-any-return]

    def _take(self, data: Data, resets: bool) -> tuple[list[Any], list[Any]]:
        """Return the state of the model, and that of its metrics."""
        if not self._groups:
            self._build(data)
        state = [variable._value for variable in self._state]
        return state, self._fresh if resets else [variable._value for variable in self._metrics]

    def _put(self, state: list[Any], metrics: list[Any]) -> None:
        """Put the new values of a step into the variables."""
        for variable, value in zip(self._state, state, strict=True):
            variable._value = value
        for variable, value in zip(self._metrics, metrics, strict=True):
            variable._value = value
        for variable in self._assigned:
            variable.assign(variable._value)

    def _build(self, data: Data) -> None:
        """Create the variables that are missing, and list all of them, once per `compile()`."""
        model = self.model
        model._symbolic_build(data_batch=tuple(data))
        going_on = [self._copy(variable.value) for variable in model.metrics_variables]
        model.reset_metrics()
        groups = [
            list(model.trainable_variables),
            list(model.non_trainable_variables),
            list(model.optimizer.variables),
            list(model.metrics_variables),
        ]
        self._state, self._metrics = list(chain(*groups[:-1])), groups[-1]
        plain = sys.modules["keras"].Variable.assign
        # Variables with an `assign` of their own get to see their values.
        self._assigned = [
            variable
            for variable in (*self._state, *self._metrics)
            if type(variable).assign is not plain
        ]
        # Copies: the step of Keras donates the arrays of the variables.
        self._fresh = [self._copy(variable.value) for variable in self._metrics]
        for variable, value in zip(self._metrics, going_on, strict=True):
            variable.assign(value)
        self._groups = groups
