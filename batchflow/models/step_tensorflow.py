"""The compiled step on TensorFlow: a `tf.function` over the reset of the metrics and `train_step`.

XLA compiles it only where the model's `jit_compile` says so: on a CPU that is slower.

Guarantees:
    - *Few traces*: at most two, one for the first batch size and one for all others; of steps that
      reset no metrics as many again. Of several steps in one call likewise, per number of them. A
      trace that creates variables is done twice by TensorFlow, and once more where it creates those
      of metrics. So the variables of the optimizer and the metrics are created before, unless the
      model has layers without variables yet or a `train_step` of its own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from batchflow.models.step import Data, Logs, Step, shape_of

N_SIGNATURES = 256  # of batches; they share two graphs
N_BYTES = 2**14  # of an array; below, it does not matter how often it is copied
_ALIGNMENT = 64
_SHARED = frozenset(
    map(np.dtype, ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"))
)


class TensorFlowStep(Step):
    """A `tf.function`, and its graphs.

    Attributes:
        is_complete: Whether the trace resets all metrics. A first one may create some of them.
    """

    @classmethod
    def of(cls, model: Any) -> TensorFlowStep | None:
        """Return the step of a model, or None if Keras's own step is needed."""
        tf = sys.modules["tensorflow"]
        if model._distribute_strategy is not None or tf.distribute.has_strategy():
            return None
        return cls(model, tf)

    def __init__(self, model: Any, tf: Any) -> None:
        super().__init__(model)
        self._tf = tf
        # Graphs by the shapes and dtypes that they take. The lookup by a tf.function takes a third
        # of the time of a small step.
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self.is_complete = False
        self._is_on_cpu = not tf.config.list_logical_devices("GPU")
        self._compile()

    def _compile(self) -> None:
        self._functions = {
            resets: self._function(self._resetting if resets else self._going_on)
            for resets in (True, False)
        }
        self._rows: dict[Any, Any] = {}

    def _function(self, python: Callable[..., Any]) -> Any:
        function = self._tf.function(
            python, reduce_retracing=True, autograph=False, jit_compile=self.model.jit_compile
        )
        # TensorFlow counts the traces of all models together, and no calls of graphs: it would warn
        # of what is traced once.
        function._omit_frequent_tracing_warning = True
        return function

    def _resetting(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        n_known = len(self.model.metrics_variables)
        self.model.reset_metrics()
        logs = self._step((x, y, sample_weight))
        self.is_complete = n_known == len(self.model.metrics_variables)
        return logs

    def _going_on(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        n_known = len(self.model.metrics_variables)
        logs = self._step((x, y, sample_weight))
        self.is_complete = n_known == len(self.model.metrics_variables)
        return logs

    def _step(self, data: Any) -> Any:
        return self.model.train_step(data)

    def _create_variables(self, data: Sequence[Any]) -> None:
        """Create the variables that the first trace would create, where it is known which."""
        model, keras = self.model, sys.modules["keras"]
        weights, optimizer = model.trainable_weights, model.optimizer
        if (
            getattr(model.train_step, "__func__", None) is not keras.Model.train_step
            or optimizer is None
            or not weights
            or not all(layer.built for layer in model._flatten_layers())
        ):
            return
        if not optimizer.built:
            with keras.name_scope(optimizer.name, caller=optimizer):  # as its first `apply` does
                optimizer.build(weights)
        # What cannot be done is done by the trace, which tells what is wrong, too.
        with contextlib.suppress(Exception):
            model._symbolic_build(data_batch=tuple(data))

    def _row(self, batches: Sequence[Data], first_resets: bool, others_reset: bool) -> Any:
        """Return a function that takes all tensors of several batches, and trains on each batch."""
        form = self._tf.nest.map_structure(lambda leaf: leaf is not None, [*map(tuple, batches)])
        key = first_resets, others_reset, repr(form)
        if key in self._rows:
            return self._rows[key]
        steps = {True: self._resetting, False: self._going_on}

        def train(*tensors: Any) -> list[Any]:
            rest = iter(tensors)
            first, *others = self._tf.nest.map_structure(
                lambda is_given: next(rest) if is_given else None, form
            )
            logs = [steps[first_resets](*first)]
            return logs + [steps[others_reset](*data) for data in others]

        return self._rows.setdefault(key, self._function(train))

    def one(self, data: Data, resets: bool) -> Logs:
        """Do a step on one batch."""
        if not _is_flat(data):
            return self._values(self._traced(data, resets))
        signature = resets, *(part if part is None else (part.shape, part.dtype) for part in data)
        graph = self._graphs.get(signature)
        tensors = [self._tensor(part) for part in data]
        if graph is None or self._tf.config.functions_run_eagerly():
            return self._values(self._traced(tensors, resets, signature))
        return self._values(graph(*tensors))

    def _traced(self, data: Sequence[Any], resets: bool, signature: Any = None) -> Any:
        """Call the `tf.function`, which may trace, and keep its graph."""
        if not self.is_complete:
            self._create_variables(data)
        try:
            logs = self._functions[resets](*data)
        except Exception:
            if not self.is_complete:
                self._compile()  # tf.function refuses to create variables after a first failure
            raise
        if not self.is_complete:
            self.is_complete = True
            self._functions[resets] = self._function(self._resetting if resets else self._going_on)
        elif signature is not None:
            self._keep(signature, self._functions[resets], data)
        return logs

    def several(
        self, batches: Sequence[Data], first_resets: bool, others_reset: bool
    ) -> list[Logs] | None:
        """Do a step on each of several batches of one shape, in one call."""
        if not self.is_complete:
            return None
        leaves = [
            leaf
            for data in batches
            for leaf in (data if _is_flat(data) else self._tf.nest.flatten(tuple(data)))
            if leaf is not None
        ]
        tensors = [self._tensor(leaf) for leaf in leaves]
        signature = len(batches), first_resets, others_reset, shape_of(batches[0])
        graph = self._graphs.get(signature)
        if graph is None or self._tf.config.functions_run_eagerly():
            graph = self._row(batches, first_resets, others_reset)
            if all(type(leaf) is np.ndarray for leaf in leaves):
                self._keep(signature, graph, tensors)
        return [self._values(logs) for logs in graph(*tensors)]

    def _keep(self, signature: Any, function: Any, tensors: Sequence[Any]) -> None:
        if len(self._graphs) >= N_SIGNATURES:
            self._graphs.clear()
        self._graphs[signature] = function.get_concrete_function(*tensors)

    def _tensor(self, value: Any) -> Any:
        """Return a tensor of an array, as a `tf.function` would make it, in less time."""
        if type(value) is not np.ndarray:
            return value
        if value.nbytes < N_BYTES or value.dtype not in _SHARED or not self._is_on_cpu:
            return self._tf.convert_to_tensor(value)
        # convert_to_tensor copies an array, and copies the copy where it does not lie as TensorFlow
        # wants it. This copy does, so TensorFlow takes it as it is; nobody else has it.
        memory = np.empty(value.nbytes + _ALIGNMENT, np.uint8)
        offset = -memory.__array_interface__["data"][0] % _ALIGNMENT
        copy = np.ndarray(value.shape, value.dtype, memory, offset)
        copy[...] = value
        return self._tf.experimental.dlpack.from_dlpack(copy.__dlpack__())


class TensorFlowTest(TensorFlowStep):
    """The same of `test_step`."""

    def _step(self, data: Any) -> Any:
        return self.model.test_step(data)

    def _create_variables(self, data: Sequence[Any]) -> None:
        pass  # a test leaves the optimizer as it is


def _is_flat(data: Data) -> bool:
    return all(part is None or type(part) is np.ndarray for part in data)
