"""The variables of the state of `tf_keras` models: Keras as it was before version 3."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
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


def random_states(model: Any) -> list[Any]:
    """Return the variables with the states of those random layers that have one."""
    found = (generator._generator for _, generator in _random_layers(model))
    return [generator.state for generator in found if generator is not None]


def warn_of_random_layers(model: Any, where: str) -> None:
    """Warn of random layers that draw from states which `tf_keras` does not give away."""
    names = [layer.name for layer, own in _random_layers(model) if own._rng_type.startswith("lega")]
    if names:
        warnings.warn(
            f"{where}: {', '.join(map(repr, names))} draw random numbers from a state that cannot "
            "be saved: a resumed run goes on with other ones. Call "
            "tf_keras.backend.experimental.enable_tf_random_generator() before the model is made",
            stacklevel=2,
        )


def _random_layers(model: Any) -> Iterator[tuple[Any, Any]]:
    """Go through the layers of a model that draw, and what they draw from."""
    for layer in model._flatten_layers():
        generator = getattr(layer, "_random_generator", None)
        rates = [getattr(layer, name, None) for name in ("rate", "dropout", "recurrent_dropout")]
        given = [rate for rate in rates if rate is not None]
        if generator is not None and (any(given) or not given):
            yield layer, generator
