"""The outputs of Keras models, and the variables of their state.

Keras is not imported here: where there is a model, it is loaded.

Guarantees:
    - `state_variables` holds all that the next training step depends on: weights, the variables of
      the optimizer (its step and learning rate among them) and the state of every seed generator.
    - The names it gives are the same in another process and on another backend of Keras.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchflow.errors import ModelDefinitionError


def named_outputs(model: Any, outputs: Any) -> dict[str | int, Any]:
    """Return the outputs of a model by their names and their positions.

    Args:
        model: A Keras model.
        outputs: Its predictions: an array, a list of arrays or a dict of arrays.

    Returns:
        The outputs of a dict by its keys; those of a list, or the only one, by position and, where
        Keras names them (in functional and sequential models), by name.
    """
    if isinstance(outputs, Mapping):
        return dict(outputs)
    several = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    inner = getattr(model, "_functional", None)  # of a sequential model: it names the outputs
    names = getattr(model, "output_names", None) or getattr(inner, "output_names", None) or []
    if len(names) != len(several):
        names = []
    return {**dict(enumerate(several)), **dict(zip(names, several, strict=False))}


def state_variables(model: Any) -> dict[str, Any]:
    """Return the variables of the state of a model, in an order that its layers fix.

    The optimizer of a compiled model is built if it is not yet, so that a model that has never
    been trained and one that has been have the same variables.

    Not among them: the running values of metrics; the vocabularies of lookup layers; Keras's global
    seed generator, which the random functions of `keras.random` use where they get no seed; and on
    torch the state of torch's global generator, from which a Dropout without a seed draws.

    Returns:
        `keras.Variable`s by `"model/<position>/<layer>/<name>"` and
        `"optimizer/<position>/<optimizer>/<kind>"`. The numbers that Keras appends to make names
        unique in a process are left out.

    Raises:
        ModelDefinitionError: The model has no variables yet.
    """
    if not model.built:
        raise ModelDefinitionError(
            f"the Keras model {model.name!r} has no variables yet: begin it with a keras.Input, "
            "or call it on a batch first"
        )
    named = {
        f"model/{position}/{'/'.join(_stable(part) for part in variable.path.split('/')[-2:])}": (
            variable
        )
        for position, variable in enumerate(model.variables)
    }
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return named
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    for position, variable in enumerate(optimizer_variables(optimizer)):
        # ".../adam_1/net_dense_2_kernel_velocity": all but "adam" and "velocity" depends on the
        # process and on where the optimizer was built. So does whether "adam_1" is there at all
        # where an optimizer has made a variable otherwise than by `add_variable`.
        owner, name = ["", *variable.path.split("/")][-2:]
        kind = _stable(name).rpartition("_")[2]
        named[f"optimizer/{position}/{_stable(owner or optimizer.name)}/{kind}"] = variable
    return named


def optimizer_variables(optimizer: Any) -> list[Any]:
    """Return all variables of an optimizer that is built.

    Keras does not list a variable that the optimizer inside of a `LossScaleOptimizer` has made
    otherwise than by `add_variable`, as Nadam does with its product of momentums.
    """
    variables = {id(variable): variable for variable in optimizer.variables}
    while optimizer is not None:
        for value in vars(optimizer).values():
            if isinstance(value, sys.modules["keras"].Variable):
                variables.setdefault(id(value), value)
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return list(variables.values())


def input_shapes(model: Any) -> dict[str, Any] | None:
    """Return the shapes that a Keras model was built for, by the names of its arguments.

    Returns:
        Shapes without the number of items, fit for JSON; None where Keras does not know them.
    """
    config = model.get_build_config() or {}
    shapes = {name: _per_item(shape) for name, shape in config.items()}
    return shapes if shapes and None not in shapes.values() else None


def _per_item(shape: Any) -> Any:
    if isinstance(shape, Mapping):
        return {name: _per_item(part) for name, part in shape.items()}
    if not isinstance(shape, list | tuple):
        return None
    if _is_shape(shape):
        return [None, *shape[1:]]
    return [_per_item(part) for part in shape]


def _is_shape(value: Any) -> bool:
    return all(size is None or isinstance(size, int) for size in value)


def build_for(model: Any, shapes: Mapping[str, Any]) -> None:
    """Create the variables of a Keras model, as its first call would.

    Args:
        model: A model that is not built yet.
        shapes: The `input_shapes` of a model of the same layers.

    Raises:
        ModelDefinitionError: The model cannot be called with inputs of these shapes.
    """
    keras = sys.modules["keras"]

    def symbol(shape: Any) -> Any:
        if isinstance(shape, Mapping):
            return {name: symbol(part) for name, part in shape.items()}
        if _is_shape(shape):
            return keras.KerasTensor(tuple(shape), dtype=keras.config.floatx())
        return [symbol(part) for part in shape]

    try:
        inputs = {name: symbol(shape) for name, shape in shapes.items()}
        if len(inputs) == 1:
            model(*inputs.values())
        else:
            model(**{name.removesuffix("_shape"): value for name, value in inputs.items()})
    except Exception as error:
        raise ModelDefinitionError(
            f"the Keras model {model.name!r} has no variables yet, and cannot create them for "
            f"inputs of the shapes {dict(shapes)}: {error}. Begin it with a keras.Input, or call "
            "it on a batch where it is made"
        ) from error


def state_arrays(variables: Mapping[str, Any], *, copies: bool = False) -> dict[str, NDArray[Any]]:
    """Return the values of Keras variables, by the same names.

    Args:
        variables: The variables by name.
        copies: Whether the arrays have to outlive the next change of the model. Otherwise one may
            be a view of its variable.
    """
    arrays = {name: np.asarray(variable) for name, variable in variables.items()}
    if not copies:
        return arrays
    # TensorFlow gives copies already; what JAX and torch give are views.
    return {name: a if a.flags.owndata else a.copy() for name, a in arrays.items()}


def assign_state(
    model: Any,
    variables: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    framework: str = "keras",
) -> None:
    """Put values into variables of a model.

    Args:
        model: The model.
        variables: Some of its `state_variables`.
        arrays: A value for each, of its shape.
        framework: `"keras"` or `"tf_keras"`.
    """
    for name, variable in variables.items():
        variable.assign(arrays[name])
    layers = sys.modules[framework].layers
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # it computes with copies of its variables


def copier(pairs: Sequence[tuple[Any, Any]]) -> Callable[[], object]:
    """Return a function that copies the values of Keras variables.

    Args:
        pairs: A variable that gets a value, and the one that has it, for each.
    """
    keras = sys.modules["keras"]
    backend = keras.backend.backend()
    if backend == "tensorflow":  # one call for all: it costs the same for any number

        def assign() -> None:
            for variable, source in pairs:
                variable.value.assign(source.value)

        compiled: Callable[[], object] = sys.modules["tensorflow"].function(assign, autograph=False)
        return compiled

    def copy() -> None:
        for variable, source in pairs:  # JAX gives away the array of a variable in its next step
            variable.assign(keras.ops.copy(source.value) if backend == "jax" else source.value)

    return copy


def _stable(name: str) -> str:
    """Return a name without the number that makes it unique in a process."""
    return re.sub(r"_\d+$", "", name)
