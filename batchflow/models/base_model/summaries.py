"""Summaries for TensorBoard, written while a model trains, on every backend.

| kind | tags |
|---|---|
| `"loss"` | `loss` |
| `"learning_rate"` | `learning_rate` |
| `"variables"` | `variables/<name>`: histograms, after the step |
| `"gradients"` | `gradients/<name>`: histograms, before clipping; `gradients/global_norm` |
| `"activations"` | `activations/<layer>`: histograms, before the step |

Guarantees:
    - Training does the same steps, to the last bit, with and without summaries: gradients and
      activations are computed beside the step, and leave no state behind.
    - Only the kinds that were asked for are computed and written.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MissingPackageError,
    did_you_mean,
)
from batchflow.models.base_model.keras import Base, keras
from batchflow.models.estimator.events import EventFile, has_tensorboard

KINDS = ("activations", "loss", "learning_rate", "variables", "gradients")
_ALL = "all"


def kinds_of(given: Any) -> tuple[str, ...]:
    """Return the requested kinds of summaries; `("all",)` for all.

    Raises:
        ArgumentValueError: (a `ValueError`) A kind is not known.
        ArgumentTypeError: (a `TypeError`) The kinds are no names.
    """
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple | set | frozenset):
        raise ArgumentTypeError(f"summaries is a name or a list of names, got {given!r:.60}")
    known = (_ALL, *KINDS)
    lowered = [name.lower() if isinstance(name, str) else name for name in names]
    for name in lowered:
        if name not in known:
            raise ArgumentValueError(
                f"there are no summaries {name!r}; there are {', '.join(known)}."
                f"{did_you_mean(name, known, only_near=True)}"
            )
    return (_ALL,) if _ALL in lowered else tuple(kind for kind in KINDS if kind in lowered)


def writing_hook(kinds: tuple[str, ...], every: int) -> Any:
    """Return the hook that writes summaries; None where they cannot be written.

    Args:
        kinds: The result of `kinds_of`.
        every: Summaries are written at the first step, and at every multiple of this number.

    Raises:
        MissingPackageError: The package `tensorboard` is not installed, and kinds were asked for by
            name. For the default, "all", there is a warning instead, once.
    """
    advice = (
        "summaries need the package tensorboard: pip install tensorboard, or say summaries=None"
    )
    if not has_tensorboard():
        if kinds != (_ALL,):
            raise MissingPackageError(advice, name="tensorboard")
        _warn_once(advice)
        return None
    return _hook_class()(KINDS if kinds == (_ALL,) else kinds, every)


@functools.cache
def _warn_once(text: str) -> None:
    warnings.warn(f"{text}. Nothing is written", stacklevel=2)


# ---- computed beside the step


def _gradients(model: Any, arrays: list[Any]) -> dict[str, Any]:
    """Return the gradients that the next step will compute, by the names of the variables."""
    ops = keras().ops
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def loss_of(values: list[Any]) -> Any:
        outputs, _, losses = model.stateless_call(
            values, fixed, tensors, training=True, return_losses=True
        )
        return sum((ops.sum(loss) for loss in losses), start=outputs["loss"])

    variables = model.trainable_variables
    differentiate = _DIFFERENTIATE[keras().backend.backend()]
    gradients = differentiate(loss_of, [variable.value for variable in variables])
    return {
        variable.path: _numpy(gradient)
        for variable, gradient in zip(variables, gradients, strict=True)
        if gradient is not None
    }


def _by_tensorflow(loss_of: Callable[[Any], Any], values: list[Any]) -> Iterable[Any]:
    tf: Any = sys.modules["tensorflow"]
    tensors = [tf.convert_to_tensor(value) for value in values]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = loss_of(tensors)
    return [
        None if gradient is None else tf.convert_to_tensor(gradient)
        for gradient in tape.gradient(loss, tensors)
    ]


def _by_jax(loss_of: Callable[[Any], Any], values: list[Any]) -> Iterable[Any]:
    gradients: Iterable[Any] = sys.modules["jax"].grad(loss_of)(values)
    return gradients


def _by_torch(loss_of: Callable[[Any], Any], values: list[Any]) -> Iterable[Any]:
    tensors = [value.detach().clone().requires_grad_() for value in values]
    gradients: Iterable[Any] = sys.modules["torch"].autograd.grad(
        loss_of(tensors), tensors, allow_unused=True
    )
    return gradients


_DIFFERENTIATE = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}


def _activations(probe: Any, arrays: list[Any]) -> dict[str, Any]:
    """Return the outputs of layers for a batch, by name."""
    ops = keras().ops
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    outputs, _ = probe.stateless_call(
        [variable.value for variable in probe.trainable_variables],
        [variable.value for variable in probe.non_trainable_variables],
        tensors,
        training=True,
    )
    return {name: _numpy(output) for name, output in outputs.items()}


def _numpy(tensor: Any) -> Any:
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def _probe(model: Any) -> Any:
    """Return a model of the outputs of a model's layers, of those that are called once."""
    outputs = {}
    for layer in model.layers:
        own = type(layer).__module__.startswith("batchflow.")
        if isinstance(layer, keras().layers.InputLayer) or own:
            continue
        try:
            output = layer.output
        except (AttributeError, ValueError):  # called several times, or not on its own
            continue
        parts = keras().tree.flatten(output)
        for number, part in enumerate(parts):
            outputs[layer.name if len(parts) == 1 else f"{layer.name}_{number}"] = part
    return keras().Model(model.inputs, outputs) if outputs else None


# ---- the hook


class _Writing(Base):  # type: ignore[misc]
    """A hook that writes summaries into the folder of its program."""

    def __init__(self, kinds: tuple[str, ...], every: int) -> None:
        super().__init__()
        self.kinds = kinds
        self._every = every
        self._file: EventFile | None = None
        self._values: tuple[dict[str, Any], dict[str, Any]] = {}, {}

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        folder = model.program.summary_dir
        if self._file is None and folder is not None:
            self._file = EventFile(folder)
        self._probe = _probe(model) if "activations" in self.kinds else None

    def _is_due(self, number: int) -> bool:
        step = number + 1
        return self._file is not None and (step == 1 or step % self._every == 0)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if not self._is_due(batch):
            return
        scalars, histograms = self._values = {}, {}
        arrays = self.model.program.batch.arrays()
        if "learning_rate" in self.kinds:
            scalars["learning_rate"] = float(self.model.optimizer.learning_rate)
        if "gradients" in self.kinds:
            gradients = _gradients(self.model, arrays)
            squares = [np.square(value, dtype="float64").sum() for value in gradients.values()]
            scalars["gradients/global_norm"] = np.sqrt(sum(squares))
            histograms.update({f"gradients/{name}": v for name, v in gradients.items()})
        if self._probe is not None:
            found = _activations(self._probe, arrays)
            histograms.update({f"activations/{name}": v for name, v in found.items()})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._file is None or not self._is_due(batch):
            return
        scalars, histograms = self._values
        if "loss" in self.kinds:
            scalars["loss"] = (logs or {})["loss"]
        if "variables" in self.kinds:
            for variable in self.model.weights:
                histograms[f"variables/{variable.path}"] = np.asarray(variable)
        self._file.write(batch + 1, scalars, histograms)


@functools.cache
def _hook_class() -> Any:
    """Return the class of the hook, made on first use of Keras."""

    class SummaryHook(_Writing, keras().callbacks.Callback):  # type: ignore[misc]
        """A callback that writes summaries."""

    return SummaryHook
