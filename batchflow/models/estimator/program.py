"""A spec as one Keras model, whose inputs are the arrays of a batch.

    [features..., labels..., sample_weight] -> {"predictions": ..., "loss": ..., "metrics": ...}

Keras trains and tests it by its own compiled steps, on every backend. The loss is an output of the
graph, and other outputs feed the metrics.

Guarantees:
    - A program of the same model function and signature has the same variables under the same
      names, in any process, no matter what was built before: names are counted anew.
    - With `tf_random_seed`, it also begins with the same values. Python's own random numbers go
      on afterwards as if nothing had been built.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from batchflow.errors import ArgumentValueError
from batchflow.models.estimator.batches import Batch, Signature
from batchflow.models.estimator.spec import EstimatorSpec, Modes, ServingInputReceiver, leaves
from batchflow.models.keras_step import train_on_batch

_NAME = "estimator"
_MARK = "_batchflow_is_in_a_program"


class Program:
    """A model of one mode, which trains, evaluates or predicts.

    Args:
        spec: The result of the model function.
        signature: The signature of the batches that it takes.
        inputs: The `keras.Input`s from which the spec was computed.

    Attributes:
        model: The Keras model.
        spec: As given.
        signature: As given.
        batch: The batch of the current step, for hooks.
        summary_dir: The folder for summaries, or None.
        learning_rate: The one in the spec. None: it is a schedule, or nothing is trained.
        source: The program from which its weights were copied last, or None.
        copy: Copies them.
        shares: Whether an earlier program has some of its variables, those of layers that are made
            outside of the model function.
    """

    summary_dir: str | None = None

    def __init__(self, spec: EstimatorSpec, signature: Signature, inputs: Batch) -> None:
        self.spec = spec
        self.signature = signature
        self.batch: Batch | None = None
        self.source: Program | None = None
        self.copy: Callable[[], object] = lambda: None
        outputs: dict[str, Any] = {}
        if spec.predictions is not None:
            outputs["predictions"] = spec.predictions
        if not Modes.is_infer(spec.mode):
            keras = sys.modules["keras"]
            outputs["loss"] = keras.ops.reshape(spec.loss, ())
        if Modes.is_eval(spec.mode):
            outputs["metrics"] = {
                str(number): parts[1:]
                for number, parts in enumerate(spec.eval_metric_ops.values())  # type: ignore[union-attr]
            }
        self.model = _model_class()(inputs=inputs.arrays(), outputs=outputs, name=_NAME)
        _own_dropout(self.model)
        self.shares = any(hasattr(variable, _MARK) for variable in self.model.variables)
        for variable in self.model.variables:
            setattr(variable, _MARK, True)
        self.model.program = self  # hooks find the program by their model
        if Modes.is_eval(spec.mode):
            self.model.keep_metrics(spec.eval_metric_ops)
        optimizer = spec.train_op if Modes.is_train(spec.mode) else None
        if optimizer is not None and optimizer.built:  # by another program
            optimizer = type(optimizer).from_config(optimizer.get_config())
        self.model.compile(optimizer=optimizer, jit_compile=_jit_compile())
        if optimizer is not None and not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self.learning_rate = _constant_rate(self.model.optimizer)

    @classmethod
    def build(
        cls, make_spec: Callable[[Batch], EstimatorSpec], signature: Signature, seed: int | None
    ) -> Program:
        """Return a new program.

        Args:
            make_spec: Calls the model function with a batch of `keras.Input`s.
            signature: The signature of the batches.
            seed: The seed of initial values.

        Raises:
            ArgumentValueError: (a `ValueError`) The spec does not come from these inputs.
        """
        program: Program = build_in_scope(functools.partial(cls._build, make_spec, signature), seed)
        return program

    @classmethod
    def _build(cls, make_spec: Callable[[Batch], EstimatorSpec], signature: Signature) -> Program:
        inputs = signature.inputs()
        spec = make_spec(inputs)
        try:
            return cls(spec, signature, inputs)
        except ValueError as error:
            error.add_note(
                "The tensors of an EstimatorSpec are computed from the features and labels that "
                "model_fn was called with"
            )
            raise

    @classmethod
    def of_receiver(cls, spec: EstimatorSpec, receiver: ServingInputReceiver) -> Program:
        """Return a program of the inputs of an exported model."""
        inputs = Batch(receiver.receiver_tensors)
        return cls(spec, Signature({}, inputs), inputs)

    def train(self, batch: Batch) -> dict[str, Any]:
        """Do one step of the optimizer. Return the loss, which is read when it is used."""
        return train_on_batch(self.model, (batch.arrays(),), {})

    def evaluate(self, batch: Batch) -> dict[str, Any]:
        """Add a batch to the metrics, and return their values."""
        self.model.create_metrics(batch.arrays())
        logs = self.model.test_on_batch(batch.arrays(), return_dict=True)
        return {name: value for name, value in logs.items() if value is not None}

    def predict(self, batch: Batch) -> Any:
        """Return the predictions of a batch as NumPy arrays."""
        predicted = self.model.predict_on_batch(batch.arrays())["predictions"]
        if isinstance(self.spec.predictions, Mapping):  # JAX sorts the keys of dictionaries
            return {key: predicted[key] for key in self.spec.predictions}
        return predicted

    def begin_metrics(self) -> None:
        """Reset the metrics."""
        self.model.begin_metrics()

    def take_metrics(self, other: Program, batch: Batch) -> None:
        """Continue the metrics of another program of the same model function."""
        # First copied: both programs share metrics that are made outside of the model function.
        to_numpy = sys.modules["keras"].ops.convert_to_numpy
        values = [np.array(to_numpy(value)) for value in other.model.metrics_variables]
        self.begin_metrics()
        self.model.create_metrics(batch.arrays())
        for variable, value in zip(self.model.metrics_variables, values, strict=True):
            variable.assign(value)

    def variables(self) -> dict[str, Any]:
        """Return the variables of the model by their names."""
        named: dict[str, Any] = {}
        for variable in self.model.variables:
            name, number = variable.path, 0
            while name in named:
                number += 1
                name = f"{variable.path}_{number}"
            named[name] = variable
        return named


def build_in_scope(build: Callable[[], Any], seed: int | None) -> Any:
    """Call a function that builds a model, with names counted anew and a random seed."""
    with names_counted_anew(), _seeded(seed):
        return build()


@contextlib.contextmanager
def names_counted_anew() -> Iterator[None]:
    """Make Keras number its names from the start: `dense`, `dense_1`, ...

    It counts per thread as long as the process lives. So the variables of a model that is built
    twice would have other names.
    """
    state = importlib.import_module("keras.src.backend.common.global_state")
    name = "object_name_uids"
    before = state.get_global_attribute(name)
    state.set_global_attribute(name, defaultdict(int))
    try:
        yield
    finally:
        state.set_global_attribute(name, before)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Make Keras draw its seeds from a seed. It takes them from Python's random numbers."""
    if seed is None:
        yield
        return
    of_python, of_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _own_dropout(model: Any) -> None:
    """Make layers on torch draw from their own seed generators.

    There a dropout without a seed draws from torch's global generator, whose state no checkpoint
    holds. Keras decides that by whether its seed generator was given a seed.
    """
    if sys.modules["keras"].backend.backend() != "torch":
        return
    for layer in model._flatten_layers():
        for generator in getattr(layer, "_seed_generators", ()):
            if getattr(generator, "_initial_seed", 0) is None:
                generator._initial_seed = 0


def _jit_compile() -> bool | str:
    # On TensorFlow XLA compiles for each batch size, and gains little on small steps.
    keras = sys.modules["keras"]
    return False if keras.backend.backend() == "tensorflow" else "auto"


def _constant_rate(optimizer: Any) -> float | None:
    rate = getattr(optimizer, "learning_rate", None)
    return float(rate) if isinstance(rate, sys.modules["keras"].Variable) else None


# Replaced by a class of Keras on first use of Keras.
_Base: Any = object


class _OwnLoss(_Base):  # type: ignore[misc]
    """A functional model that computes its own loss."""

    def compute_loss(
        self,
        x: Any = None,  # noqa: ARG002
        y: Any = None,  # noqa: ARG002
        y_pred: Any = None,
        sample_weight: Any = None,  # noqa: ARG002
        training: bool = True,  # noqa: ARG002
    ) -> Any:
        ops = sys.modules["keras"].ops
        loss = y_pred["loss"]
        for other in self.losses:
            loss = loss + ops.cast(ops.sum(other), loss.dtype)
        return loss

    def compute_metrics(
        self,
        x: Any,  # noqa: ARG002
        y: Any,  # noqa: ARG002
        y_pred: Any,
        sample_weight: Any = None,  # noqa: ARG002
    ) -> Any:
        for name, metric in self._counted().items():
            metric.update_state(*y_pred["metrics"][name])
        return self.get_metrics_result()

    def get_metrics_result(self) -> Any:
        results = {"loss": self._loss_tracker.result()}
        for name, metric in zip(self._names(), self._counted().values(), strict=True):
            results[name] = metric.result()
        return results

    # ---- metrics of an evaluation

    def keep_metrics(self, metric_ops: Any) -> None:
        """Keep the metrics of a spec."""
        self._metric_names = tuple(metric_ops)
        self._counting = [parts[0] for parts in metric_ops.values()]
        self._goes_on = False

    def begin_metrics(self) -> None:
        self._goes_on = False
        self.reset_metrics()
        self._goes_on = True

    def reset_metrics(self) -> None:
        if not getattr(self, "_goes_on", False):
            super().reset_metrics()

    def create_metrics(self, arrays: Any) -> None:
        """Create the variables of metrics, which some do only at a first batch."""
        late = [metric for metric in self._counting if not metric.variables]
        if not late:
            return
        to_tensor = sys.modules["keras"].ops.convert_to_tensor
        tensors = [to_tensor(array) for array in arrays]
        outputs = self(tensors, training=False)["metrics"]
        for number, metric in enumerate(self._counting):
            if not metric.variables:
                metric.update_state(*outputs[str(number)])
                metric.reset_state()

    def _counted(self) -> dict[str, Any]:
        metrics = getattr(self, "_counting", ())
        return {str(number): metric for number, metric in enumerate(metrics)}

    def _names(self) -> tuple[str, ...]:
        return getattr(self, "_metric_names", ())


@functools.cache
def _model_class() -> Any:
    """Return the class of the models, made on first use of Keras."""
    keras: Any = importlib.import_module("keras")

    class EstimatorModel(_OwnLoss, keras.Model):  # type: ignore[misc]
        """A Keras model of a program."""

    return EstimatorModel


def check_predictions(predictions: Any) -> list[tuple[str, Any]]:
    """Return the arrays of predictions by name.

    Raises:
        ArgumentValueError: (a `ValueError`) The predictions have different numbers of items.
    """
    named = leaves(predictions, "predictions")
    lengths = {name: array.shape[0] if array.shape else None for name, array in named}
    if len(set(lengths.values())) > 1:
        raise ArgumentValueError(
            f"the predictions of a batch have different numbers of items: {lengths}"
        )
    return named
