"""The variables of the state of `tf_keras` models: Keras as it was before version 3."""

from __future__ import annotations

import re
from typing import Any

from batchflow.errors import ModelDefinitionError


def state_variables(model: Any) -> dict[str, Any]:
    """Return the variables of the state of a model, in an order that its layers fix.

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


def _variables_of(optimizer: Any, model: Any) -> list[Any]:
    """Return the variables of an optimizer, its learning rate among them."""
    if optimizer is None:
        return []
    if hasattr(optimizer, "build"):
        optimizer.build(model.trainable_variables)
    else:  # of tf_keras.optimizers.legacy: there is no public method for this
        optimizer._create_all_weights(model.trainable_variables)
    variables = list(optimizer.variables())
    rate = optimizer.learning_rate  # a schedule has nothing to keep
    if hasattr(rate, "assign") and all(rate is not variable for variable in variables):
        variables.append(rate)
    return variables


def _stable(variable: Any) -> list[str]:
    """Return the parts of a variable's name without the numbers that make them unique."""
    parts = variable.name.partition(":")[0].split("/")
    return [re.sub(r"_\d+$", "", part) for part in parts]
