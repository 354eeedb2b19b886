"""What batchflow knows of `tf_keras` models: Keras as it was before version 3.

`tf_keras` is imported by whoever makes a model, never here. Such a model is trained by its own
`train_on_batch` and asked by its `predict_on_batch`. Its state is saved as that of a Keras model,
without the states of random layers, which `tf_keras` does not give away.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentValueError, ModelDefinitionError

__all__ = ["check_state_file", "is_tf_keras_model", "state_variables", "train_on_batch"]

_WHOLE = (".keras", ".h5", ".hdf5")


def is_tf_keras_model(value: Any) -> bool:
    """Tell whether `value` is a model of `tf_keras`."""
    tf_keras = sys.modules.get("tf_keras")
    # A thread may be importing it at this moment.
    return tf_keras is not None and isinstance(value, getattr(tf_keras, "Model", ()))


def train_on_batch(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Do one step of the optimizer on one batch.

    Args:
        model: A compiled `tf_keras.Model`.
        args: The arguments of its `train_on_batch`.
        kwargs: The same, by name. `reset_metrics=False` goes on with the metrics' running values.

    Returns:
        The values by the names in `model.metrics_names`.

    Raises:
        ModelDefinitionError: The model is not compiled.
    """
    if model.optimizer is None:
        raise ModelDefinitionError(
            f"the tf_keras model {model.name!r} is not compiled, so it has no optimizer and no "
            "loss to train with: call compile(optimizer, loss) where it is made"
        )
    logs: dict[str, Any] = model.train_on_batch(*args, **{**kwargs, "return_dict": True})
    return logs


def state_variables(model: Any) -> dict[str, Any]:
    """Give the variables that make up the state of a model, in an order that its layers fix.

    The optimizer of a compiled model is built if it is not yet. Not among them: the states of
    random layers and the running values of metrics.

    Returns:
        Variables of TensorFlow by `"model/<position>/<layer>/<name>"` and
        `"optimizer/<position>/<optimizer>/<name>"`, without the numbers that make names unique in
        a process.

    Raises:
        ModelDefinitionError: The model has no variables yet.
    """
    if not model.built:
        raise ModelDefinitionError(
            f"the tf_keras model {model.name!r} has no variables yet: begin it with a "
            "tf_keras.Input, or call it on a batch first"
        )
    named = {
        f"model/{position}/{'/'.join(_stable(variable)[-2:])}": variable
        for position, variable in enumerate(model.variables)
    }
    optimizer = model.optimizer
    own = optimizer.get_config()["name"] if optimizer is not None else None
    for position, variable in enumerate(_variables_of(optimizer, model)):
        # The optimizer's own name is there or not, which depends on where it was built.
        parts = [part for part in _stable(variable) if part != own]
        named[f"optimizer/{position}/{type(optimizer).__name__}/{'/'.join(parts)}"] = variable
    return named


def check_state_file(model: Any, file: str) -> None:
    """Refuse the file of a whole model: reading one of `tf_keras` can execute what is in it.

    Raises:
        ArgumentValueError: It is such a file.
    """
    if file.endswith(_WHOLE):
        raise ArgumentValueError(
            f"{file}: of the tf_keras model {model.name!r} the state is saved and loaded, as a "
            ".npz file. For a whole model call its own save(path), in an action, and "
            "tf_keras.models.load_model(path) where the model is made"
        )


def _variables_of(optimizer: Any, model: Any) -> list[Any]:
    """Give the variables of an optimizer, its learning rate among them."""
    if optimizer is None:
        return []
    if hasattr(optimizer, "build"):
        optimizer.build(model.trainable_variables)
    else:  # of tf_keras.optimizers.legacy: it has no public word for this
        optimizer._create_all_weights(model.trainable_variables)
    variables = list(optimizer.variables())
    rate = optimizer.learning_rate  # a schedule has nothing to keep
    if hasattr(rate, "assign") and all(rate is not variable for variable in variables):
        variables.append(rate)
    return variables


def _stable(variable: Any) -> list[str]:
    """Give the parts of a variable's name without what makes them unique in a process."""
    parts = variable.name.partition(":")[0].split("/")
    return [re.sub(r"_\d+$", "", part) for part in parts]
