"""What is in a checkpoint of ours: `state.json`, the arrays of `arrays.npz`, and files of models.

take: copies in memory ---> another thread: write them into the checkpoint

Arrays are copied as such. What only writes files itself does that in a folder in memory, whose
files are moved.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from batchflow.checkpoints import copies
from batchflow.checkpoints.npz import write_npz
from batchflow.checkpoints.store import Store
from batchflow.checkpoints.values import Decoder, Encoder

Write = Callable[[str], object]  # writes files into a folder


class Taking(NamedTuple):
    """Where copies of a state are taken to.

    Attributes:
        folder: A folder for files that have to be written at once.
        encode: Makes data of a value, as JSON has it; the second argument is what the value is.
        later: Gets what writes more files, in another thread; it holds copies.
    """

    folder: str
    encode: Callable[[Any, str], Any]
    later: Callable[[Write], object]


_STATE, _ARRAYS = "state.json", "arrays.npz"
_FRAMEWORKS = ("numpy", "tensorflow", "keras", "tf_keras", "torch", "jax", "sklearn")


def save(
    store: Store,
    step: int,
    state_of: Callable[[Taking], Any],
    facts: Callable[[], Mapping[str, Any]],
    *,
    trust: bool = False,
) -> None:
    """Take a copy of a state now, and let a thread write it as a checkpoint.

    Args:
        store: The directory.
        step: Behind how many batches.
        state_of: Takes the copies; returns the rest of the state as data. It is called again, with
            another folder, if that one has no room.
        facts: Gives more entries of the manifest, when the state is taken.
        trust: Whether what is no data may be pickled.

    Raises:
        Exception: That of `state_of`; or what has gone wrong with the checkpoint before.
    """
    store.wait(most=1)  # no more copies than that are in memory
    folder, writes = copies.taken(store.directory, partial(_take, state_of, trust))
    try:
        store.save(step, partial(_fill, folder, writes), {**facts(), "versions": _versions()})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read(folder: str, *, trust: bool = False) -> tuple[Any, Callable[[Any], Any]]:
    """Return the state in a checkpoint that is whole, and what makes values of its data."""
    with open(os.path.join(folder, _STATE), encoding="utf-8") as stream:
        state = json.load(stream)
    with np.load(os.path.join(folder, _ARRAYS), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return state, Decoder(state, arrays, trust=trust)


def _take(state_of: Callable[[Taking], Any], trust: bool, folder: str) -> list[Write]:
    arrays: dict[str, Any] = {}
    writes: list[Write] = []
    state = state_of(Taking(folder, Encoder(arrays, trust=trust), writes.append))

    def write(folder: str) -> None:
        with open(os.path.join(folder, _STATE), "x", encoding="utf-8") as stream:
            json.dump(state, stream)
        write_npz(os.path.join(folder, _ARRAYS), arrays)

    return [*writes, write]


def _fill(source: str, writes: list[Write], folder: str) -> None:
    """Write the copies, and move the files of a folder, which may be on another disk."""
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        while writes:  # each lets its copies go
            writes.pop()(folder)
    finally:
        shutil.rmtree(source, ignore_errors=True)


def _versions() -> dict[str, str]:
    found = {"batchflow": sys.modules["batchflow"].__version__, "python": sys.version.split()[0]}
    for name in _FRAMEWORKS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found
