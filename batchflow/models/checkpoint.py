"""Models in files.

The kind of the model and the path decide on the content of the file:

- **A Keras model, any path** (`net.npz`): its *state*: weights, optimizer, seed generators. It is
  loaded into a model of the same layers, made by the same code; one without variables is built
  first, for the shapes that the saved one was built for. The file is a zip of `.npy` files that
  `numpy.load` opens too; the same state gives the same bytes.
- **A Keras model, a path that ends in `.keras`**: the *whole model*, by Keras's own saving, with
  the states of the seed generators, which Keras leaves out, as further entries of that zip.
- **A `tf_keras` model, any path but `.keras` and `.h5`**: its state, likewise.
- **An object with a method `save(path)`**: the file that it writes; its `load(path)` reads it.
- **Anything else**: a pickle, by dill.

Guarantees:
    - *Exact*: a loaded Keras model goes on with the same bits as the saved one, on the same backend
      and device, dropout included. `batchflow.models.keras_state.state_variables` lists the few
      things that are not saved.
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
from collections.abc import Callable
from typing import Any

from batchflow.models.adapters import adapter_of
from batchflow.models.build import build

Path = str | os.PathLike[str]


def save(model: Any, path: Path) -> None:
    """Save a model.

    Args:
        model: Any object. The optimizer of a compiled Keras model is built, if it is not yet.
        path: The file. Its folder exists; a file that is there is replaced. A link is followed.

    Raises:
        ArgumentValueError: (a `ValueError`) The path cannot be used.
        ModelDefinitionError: (a `TypeError`) The Keras model has no variables yet.
    """
    adapter_of(model).save(path)


def load(
    path: Path,
    into: Any = None,
    builder: Callable[..., Any] | None = None,
    trust: bool = False,
) -> Any:
    """Load a model.

    Args:
        path: A file made by `save`.
        into: The model to load the file into, if there is one. A Keras model is changed in place;
            one that is not compiled takes the weights and leaves the optimizer. An object with a
            method `load(path)` loads the file by that.
        builder: Makes `into`, if there is none: see `batchflow.models.build.build` (a
            `functools.partial` brings a config). A class whose `load` is a class method makes the
            model from the file.
        trust: Whether a pickle may be read. Reading one runs any code that its writer put into it:
            pass True for files that you made.

    Returns:
        The model: `into` where the file was loaded into it, otherwise another object.

    Raises:
        ArgumentValueError: (a `ValueError`) The file does not fit the model, is damaged, holds a
            state and no model was given for it, or is a pickle and not trusted.
        ModelDefinitionError: (a `TypeError`) The Keras model has no variables yet, and the file
            does not hold the shapes of its inputs.
    """
    if into is None and builder is not None:
        if inspect.isclass(builder) and inspect.ismethod(make := getattr(builder, "load", None)):
            return make(path)
        into = build(builder)
    return adapter_of(into).load(path, trust)
