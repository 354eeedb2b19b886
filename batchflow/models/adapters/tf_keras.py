"""Models of `tf_keras`: Keras as it was before version 3.

They are trained by their own `train_on_batch`, and their states are saved as those of Keras models,
without the states of random layers, which `tf_keras` does not give away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentValueError, ModelDefinitionError
from batchflow.files import checked_path
from batchflow.models import keras_files, keras_metrics
from batchflow.models.adapters.base import Adapter, Fetches
from batchflow.models.keras_state import assign_state, named_outputs, state_arrays
from batchflow.models.keras_step import put_metrics
from batchflow.models.tf_keras_state import state_variables

_WHOLE = (".keras", ".h5", ".hdf5")


class TfKerasAdapter(Adapter):
    """A `tf_keras.Model`."""

    kind = "tf_keras model"
    needs_order = True

    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `train_on_batch`. `reset_metrics=False` goes on with the metrics' running values."""
        self._check_compiled()
        self._put_metrics(args, kwargs)
        logs = self.model.train_on_batch(*args, **{**kwargs, "return_dict": True})
        return self.choose_from_logs(logs, kwargs, fetches)

    def predict(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `predict_on_batch`."""
        outputs = self.model.predict_on_batch(*args, **kwargs)
        if fetches is None:
            return outputs
        return self.choose(named_outputs(self.model, outputs), fetches, "predict")

    def evaluate(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `test_on_batch`."""
        self._check_compiled()
        self._put_metrics(args, kwargs)
        logs = self.model.test_on_batch(*args, **{**kwargs, "return_dict": True})
        return logs if fetches is None else self.choose(logs, fetches, "evaluate")

    def _put_metrics(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self.model in keras_metrics.waiting:
            put_metrics(self.model, args, kwargs)

    def _check_compiled(self) -> None:
        if self.model.optimizer is None:
            raise ModelDefinitionError(
                f"the tf_keras model {self.model.name!r} is not compiled, so it has no optimizer "
                "and no loss to train with: call compile(optimizer, loss) where it is made"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the state."""
        file = checked_path(path)
        self._check_file(file)
        keras_files.save_state(file, state_arrays(state_variables(self.model)), None)

    def snapshot(self) -> Callable[[str], None]:
        """Copy the state."""
        arrays = state_arrays(state_variables(self.model), copies=True)
        return lambda file: keras_files.save_state(file, arrays, None)

    def load(self, path: str | os.PathLike[str], trust: bool) -> Any:  # noqa: ARG002  no code there
        """Load a state."""
        file, model = os.path.realpath(path), self.model
        self._check_file(file)
        variables = state_variables(model)
        arrays = keras_files.read_state(file, model, variables)
        assign_state(model, variables, arrays, "tf_keras")
        return model

    def _check_file(self, file: str) -> None:
        """Refuse the file of a whole model: reading one of `tf_keras` can execute its code."""
        if file.endswith(_WHOLE):
            raise ArgumentValueError(
                f"{file}: of the tf_keras model {self.model.name!r} the state is saved and loaded, "
                "as a .npz file. For a whole model call its own save(path), in an action, and "
                "tf_keras.models.load_model(path) where the model is made"
            )
