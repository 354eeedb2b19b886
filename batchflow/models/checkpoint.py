"""Models in files.

Which file a model makes depends on what it is and on the path:

- **A Keras model, any path** (`net.npz`): its *state*: weights, optimizer, seed generators. It is
  loaded into a model of the same layers, made by the same code; one that has no variables yet is
  built first, for the shapes that the saved one was built for. A zip of `.npy` files that
  `numpy.load` opens too; the same state gives the same bytes.
- **A Keras model, a path that ends in `.keras`**: the *whole model*, by Keras's own saving, with
  the states of the seed generators, which Keras leaves out, as further entries of that zip.
- **A `tf_keras` model, any path but `.keras` and `.h5`**: its state, likewise.
- **An object with a method `save(path)`**: what that writes; its `load(path)` reads it.
- **Anything else**: a pickle, by dill.

Guarantees:
    - *Exact*: a Keras model that is loaded goes on with the same bits as the one that was saved, on
      the same backend and device; dropout included. What does not belong to it is listed at
      `batchflow.models.keras.state_variables`.
    - *Atomic*: a crash at any moment of `save` leaves the old file or the new one, whole. It may
      leave `.<name>.<random>.tmp` beside it, which can be deleted. (A `save` method of a user's
      object is as safe as it is written.)
    - *Safe*: nothing in a file is executed without `trust=True`. Whole models are read in Keras's
      safe mode. A state is read only as far as the model's own shapes allow.
    - *All or nothing*: a state that does not fit changes nothing.
"""

from __future__ import annotations

import inspect
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.errors import ArgumentValueError
from batchflow.extras import imported
from batchflow.files import replacing
from batchflow.models.build import build
from batchflow.models.keras import (
    assign_state,
    build_for,
    input_shapes,
    is_keras_model,
    state_arrays,
    state_variables,
)
from batchflow.models.keras_legacy import check_state_file, is_tf_keras_model
from batchflow.models.state_file import (
    FORMAT,
    fit,
    names_in,
    read_arrays,
    read_shapes,
    reading,
    write_arrays,
)

__all__ = ["load", "save"]

Path = str | os.PathLike[str]

_ZIP_MAGIC = b"PK"


def save(model: Any, path: Path) -> None:
    """Save a model.

    Args:
        model: Any object. The optimizer of a compiled Keras model is built, if it is not yet.
        path: The file. Its folder exists; a file that is there is replaced. A link is followed.

    Raises:
        ArgumentValueError: (a `ValueError`) The path cannot be used.
        ModelDefinitionError: (a `TypeError`) The Keras model has no variables yet.
    """
    if not _has_state(model) and callable(method := getattr(model, "save", None)):
        method(path)
        return
    file = _writable(path)
    if is_tf_keras_model(model):
        check_state_file(model, file)
    if _has_state(model):
        if file.endswith((".h5", ".hdf5")):
            raise ArgumentValueError(
                f"{file}: a Keras model is saved to a .npz (its state) or a .keras file (the whole "
                "model). For Keras's own .weights.h5 call model.save_weights(path); it holds no "
                "seed generators and is not written atomically"
            )
        _save_keras(model, file)
    else:
        import dill  # type: ignore[import-untyped]

        with replacing(file) as temporary, open(temporary, "xb") as stream:
            try:
                dill.dump(model, stream)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                error.add_note(
                    f"A {type(model).__name__} cannot be pickled. Give its class the methods "
                    "save(path) and load(path)"
                )
                raise


def load(
    path: Path,
    into: Any = None,
    builder: Callable[..., Any] | None = None,
    trust: bool = False,
) -> Any:
    """Load a model.

    Args:
        path: A file made by `save`.
        into: The model that takes the file's contents, if there is one. A Keras model is changed
            in place; one that is not compiled takes the weights and leaves the optimizer. An object
            with a method `load(path)` does as that does.
        builder: What makes `into`, if there is none: see `batchflow.models.build.build` (a
            `functools.partial` brings a config). A class whose `load` is a class method makes the
            model from the file.
        trust: Whether a pickle may be read. Reading one runs whatever its writer put into it: say
            True for files that you made.

    Returns:
        The model: `into` where the file was loaded into it, otherwise another object.

    Raises:
        ArgumentValueError: (a `ValueError`) The file does not fit the model, is damaged, holds a
            state with nothing given to take it, or is a pickle and not trusted.
        ModelDefinitionError: (a `TypeError`) The Keras model has no variables yet, and the file
            does not tell the shapes of its inputs.
    """
    file = os.path.realpath(path)
    if into is None and builder is not None:
        if inspect.isclass(builder) and inspect.ismethod(make := getattr(builder, "load", None)):
            return make(path)
        into = build(builder)
    if is_tf_keras_model(into):
        check_state_file(into, file)
    if _has_state(into):
        _load_into_keras(file, into)
        return into
    if callable(method := getattr(into, "load", None)):
        loaded = method(path)
        return into if loaded is None else loaded
    if file.endswith(".keras"):
        return _load_whole(file)
    return _load_pickle(file, trust)


# ---- Keras


def _has_state(model: Any) -> bool:
    return is_keras_model(model) or is_tf_keras_model(model)


def _save_keras(model: Any, file: str) -> None:
    variables = state_variables(model)
    if not file.endswith(".keras"):
        with replacing(file) as temporary, zipfile.ZipFile(temporary, "x") as archive:
            write_arrays(archive, state_arrays(variables), input_shapes(model))
        return
    with replacing(file, ".keras") as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            write_arrays(archive, state_arrays(_beside_weights(model, variables)))


def _build(model: Any, file: str, loaded: Any) -> None:
    """Let a model that has no variables yet create those that the file is of, if it tells how."""
    if loaded is not None:
        shapes = input_shapes(loaded)
    else:
        with reading(file) as archive:
            shapes = read_shapes(archive, file)
    if shapes:
        build_for(model, shapes)


def _load_into_keras(file: str, model: Any) -> None:
    loaded = _load_whole(file) if file.endswith(".keras") else None
    if is_keras_model(model) and not model.built:
        _build(model, file, loaded)
    variables = state_variables(model)
    if loaded is not None:
        found = state_arrays(state_variables(loaded))
        _check_names(file, model, found, variables)
        arrays = {
            name: fit(found[name], like, f"{file}: {name}")
            for name, like in state_arrays(variables).items()
        }
    else:
        present = state_arrays(variables)
        with reading(file) as archive:
            _check_names(file, model, names_in(archive, file), variables)
            arrays = read_arrays(archive, present, file)
    assign_state(model, variables, arrays)


def _load_whole(file: str) -> Any:
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


def _beside_weights(model: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Give the variables of a model that Keras's own files leave out: those of random states."""
    weights = {id(variable) for variable in model.weights}
    return {
        name: variable
        for name, variable in variables.items()
        if name.startswith("model/") and id(variable) not in weights
    }


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


# ---- pickles


def _load_pickle(file: str, trust: bool) -> Any:
    with open(file, "rb") as stream:
        if stream.read(2) == _ZIP_MAGIC:
            raise ArgumentValueError(
                f"{file} holds the state of a Keras model, and no model that could take it was "
                "given: load it into a model, or give a builder"
            )
        if not trust:
            raise ArgumentValueError(
                f"{file} is a pickle or unknown. Reading a pickle runs any code that its writer "
                "put into it: pass trust=True if you know that writer"
            )
        import dill

        stream.seek(0)
        try:
            return dill.load(stream)
        except (pickle.UnpicklingError, EOFError) as error:
            raise ArgumentValueError(f"{file} is damaged or no pickle: {error}") from error


def _writable(path: Path) -> str:
    """Give the file behind a path, links followed, after a look at whether it can be one."""
    file = os.path.realpath(path)
    if os.path.isdir(file):
        raise ArgumentValueError(f"{file} is a folder: give the path of a file")
    if not os.path.isdir(os.path.dirname(file)):
        raise ArgumentValueError(
            f"the folder {os.path.dirname(file)} does not exist: make it first"
        )
    return file
