"""Keras models in files: their states, and whole models.

The models of `tf_keras` use the same files for their states.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from batchflow.errors import ArgumentValueError
from batchflow.extras import imported
from batchflow.files import replacing
from batchflow.models.keras_state import assign_state, state_arrays, state_variables
from batchflow.models.state_file import (
    FORMAT,
    Arrays,
    fit,
    names_in,
    read_arrays,
    read_shapes,
    reading,
    write_arrays,
)


def save_state(file: str, arrays: Arrays, shapes: Mapping[str, Any] | None) -> None:
    """Save the values of variables.

    Args:
        file: The file.
        arrays: The values, by the names of the variables.
        shapes: The shapes of the model's inputs, or None.
    """
    with replacing(file) as temporary, zipfile.ZipFile(temporary, "x") as archive:
        write_arrays(archive, arrays, shapes)


def read_state(file: str, model: Any, variables: Mapping[str, Any]) -> Arrays:
    """Return the values that a file holds for the variables of a model.

    Raises:
        ArgumentValueError: (a `ValueError`) The file is damaged, or of another model.
    """
    present = state_arrays(variables)
    with reading(file) as archive:
        _check_names(file, model, names_in(archive, file), variables)
        return read_arrays(archive, present, file)


def read_input_shapes(file: str) -> Any:
    """Return the shapes of the inputs of a saved model; None if they are not in the file."""
    with reading(file) as archive:
        return read_shapes(archive, file)


def save_whole(file: str, model: Any) -> None:
    """Save a Keras model by Keras's own saving, and with it the states of its seed generators."""
    variables = state_variables(model)
    with replacing(file, ".keras") as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            write_arrays(archive, state_arrays(_beside_weights(model, variables)))


def load_whole(file: str) -> Any:
    """Return the Keras model that a file holds, read in Keras's safe mode.

    Raises:
        ArgumentValueError: (a `ValueError`) The file is damaged.
    """
    with reading(file) as archive:
        names = archive.namelist()
    keras = imported("keras", f"{file}, a Keras model,")
    try:
        model = keras.saving.load_model(file, safe_mode=True)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArgumentValueError(f"{file} is damaged: {error}") from error
    if f"{FORMAT}.npy" in names:  # otherwise Keras itself has written it
        variables = _beside_weights(model, state_variables(model))
        present = state_arrays(variables)
        with reading(file) as archive:
            arrays = read_arrays(archive, present, file)
        assign_state(model, variables, arrays)
    return model


def state_from(loaded: Any, file: str, model: Any, variables: Mapping[str, Any]) -> Arrays:
    """Return the values that another model has for the variables of a model.

    Args:
        loaded: The other model.
        file: The file it was loaded from, for messages.
        model: The model.
        variables: Its variables by name.

    Raises:
        ArgumentValueError: (a `ValueError`) The two models do not fit.
    """
    found = state_arrays(state_variables(loaded))
    _check_names(file, model, found, variables)
    return {
        name: fit(found[name], like, f"{file}: {name}")
        for name, like in state_arrays(variables).items()
    }


def _beside_weights(model: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a model that Keras's own files leave out, such as random states."""
    optimizer = getattr(model, "optimizer", None)
    of_optimizer = () if optimizer is None else optimizer.variables
    written = {id(variable) for variable in (*model.weights, *of_optimizer)}
    return {name: variable for name, variable in variables.items() if id(variable) not in written}


def _check_names(
    file: str, model: Any, found: Mapping[str, Any] | set[str], variables: Mapping[str, Any]
) -> None:
    """Refuse a state of other variables. A model without an optimizer takes one with."""
    has_optimizer = getattr(model, "optimizer", None) is not None
    names = {name for name in found if has_optimizer or not name.startswith("optimizer/")}
    differences = [
        f"{text} {len(some)} variables, the first is {min(some, key=_in_order)!r}"
        for text, some in (
            ("it lacks", variables.keys() - names),
            ("the model lacks", names - variables.keys()),
        )
        if some
    ]
    if differences:
        advice = (
            ". It was saved from a model that was not compiled"
            if has_optimizer and not any(name.startswith("optimizer/") for name in found)
            else ""
        )
        raise ArgumentValueError(
            f"{file} does not fit the Keras model {model.name!r}: {'; '.join(differences)}{advice}"
        )


def _in_order(name: str) -> tuple[str, int, str]:
    group, _, rest = name.partition("/")
    position = rest.partition("/")[0]
    return group, int(position) if position.isdecimal() else 0, rest
