"""Keras models: one compiled step of the optimizer, `predict_on_batch`, states in files."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from batchflow.errors import ArgumentValueError
from batchflow.files import checked_path
from batchflow.models import keras_files
from batchflow.models.adapters.base import Adapter, Call, Fetches
from batchflow.models.keras_state import (
    assign_state,
    build_for,
    input_shapes,
    named_outputs,
    state_arrays,
    state_variables,
)
from batchflow.models.keras_step import test_on_batch, train_on_batch, train_on_batches

# By model, the lock that its calls hold.
_locks: weakref.WeakKeyDictionary[Any, AbstractContextManager[Any]] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


class KerasAdapter(Adapter):
    """A `keras.Model`, on any of Keras's backends."""

    kind = "Keras model"
    needs_order = True
    trains_several = True

    @property
    def title(self) -> str:
        """The name of the model in messages."""
        return f"the Keras model {self.model.name!r}"

    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Do one compiled step of the optimizer."""
        with _alone(self.model):
            logs = train_on_batch(self.model, args, kwargs)
        return self.choose_from_logs(logs, kwargs, fetches)

    def train_several(
        self, calls: Sequence[Call], fetches: Sequence[Fetches], n_per_call: int | None
    ) -> list[Any]:
        """Do several steps of the optimizer, in one compiled call where possible."""
        with _alone(self.model):
            several = train_on_batches(self.model, calls, n_per_call)
        return [
            self.choose_from_logs(logs, kwargs, names)
            for logs, (_, kwargs), names in zip(several, calls, fetches, strict=True)
        ]

    def predict(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `predict_on_batch`."""
        with _alone(self.model):
            outputs = self.model.predict_on_batch(*args, **kwargs)
        if fetches is None:
            return outputs
        return self.choose(named_outputs(self.model, outputs), fetches, "predict")

    def evaluate(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `test_on_batch`."""
        with _alone(self.model):
            logs = test_on_batch(self.model, args, kwargs)
        return logs if fetches is None else self.choose(logs, fetches, "evaluate")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the state, or to a `.keras` file the whole model."""
        file = checked_path(path)
        if file.endswith((".h5", ".hdf5")):
            raise ArgumentValueError(
                f"{file}: a Keras model is saved to a .npz (its state) or a .keras file (the whole "
                "model). For Keras's own .weights.h5 call model.save_weights(path); it holds no "
                "seed generators and is not written atomically"
            )
        if file.endswith(".keras"):
            keras_files.save_whole(file, self.model)
        else:
            arrays = state_arrays(state_variables(self.model))
            keras_files.save_state(file, arrays, input_shapes(self.model))

    def snapshot(self) -> Callable[[str], None]:
        """Copy the state."""
        arrays = state_arrays(state_variables(self.model), copies=True)
        shapes = input_shapes(self.model)
        return lambda file: keras_files.save_state(file, arrays, shapes)

    def load(self, path: str | os.PathLike[str], trust: bool) -> Any:  # noqa: ARG002  no code there
        """Load a state, also that of a whole model in a `.keras` file."""
        file, model = os.path.realpath(path), self.model
        loaded = keras_files.load_whole(file) if file.endswith(".keras") else None
        if not model.built:
            known = keras_files.read_input_shapes(file) if loaded is None else input_shapes(loaded)
            if known:
                build_for(model, known)
        variables = state_variables(model)
        if loaded is None:
            arrays = keras_files.read_state(file, model, variables)
        else:
            arrays = keras_files.state_from(loaded, file, model, variables)
        assign_state(model, variables, arrays)
        return model

    def shares_state(self, other: Any) -> bool:
        """Check whether another model is this one, or has variables in common with it."""
        if self.model is other:
            return True
        if not isinstance(other, sys.modules["keras"].Model):
            return False
        return not {id(v) for v in self.model.variables}.isdisjoint(id(v) for v in other.variables)


def _alone(model: Any) -> AbstractContextManager[Any]:
    """Return the context in which a model trains or predicts.

    On JAX each call takes the buffers of the model away from all others, so that a second one at
    the same moment, even a prediction, destroys the model: there calls take turns. Elsewhere
    predictions go side by side.
    """
    if sys.modules["keras"].backend.backend() != "jax":
        return nullcontext()
    lock: AbstractContextManager[Any] | None = _locks.get(model)
    if lock is None:
        with _guard:
            lock = _locks.setdefault(model, threading.RLock())
    return lock
