"""Programs in files, in one folder.

    ckpt-120.npz       weights, optimizer, seed generators (`batchflow.models.checkpoint`)
    ckpt-120.json      the step, the position in the input, the names of the variables
    checkpoint.json    the names of the checkpoints; written last

Guarantees:
    - A checkpoint exists when `checkpoint.json` names it. Each file is replaced atomically, so that
      a crash at any moment leaves the checkpoints from before, or one more.
    - Files that a crash leaves beside them are deleted by the next save.
    - To go on with training, all of a checkpoint is restored, to the last bit. Only a learning rate
      that the model function has changed since is not. For evaluation and prediction its weights
      are restored, by their names, and nothing else is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchflow.errors import (
    ArgumentValueError,
    BatchflowError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.files import checked_path, replacing
from batchflow.models import checkpoint
from batchflow.models.estimator.program import Program
from batchflow.models.keras_state import copier, state_variables

_INDEX, _VERSION = "checkpoint.json", 1
_PACKED = "batchflow_estimator"
_NAME = re.compile(r"ckpt-\d+")
_LEFT_OVER = re.compile(r"\.?(ckpt-\d+\.(npz|json)|checkpoint\.json)(\.[0-9a-f]+\.tmp)?")


@dataclass(frozen=True)
class Progress:
    """How far training has come.

    Attributes:
        step: The number of steps done: the global step.
        position: How many batches a `train` with `max_steps` has taken from its input, since the
            input last began.
        is_under_way: Whether that call had steps left to do; False in the checkpoint of its end.
        epoch: The epoch at which the loop over the input began, if that is a feed.
    """

    step: int = 0
    position: int = 0
    is_under_way: bool = False
    epoch: int | None = None


@dataclass(frozen=True)
class Saved:
    """A checkpoint in a file.

    Attributes:
        path: The `.npz`.
        progress: How far training had come.
        entries: The names in the `.npz`, by the names of the variables.
        learning_rate: The one that the model function gave; callbacks may have changed it since.
            None: it was a schedule.
    """

    path: str
    progress: Progress
    entries: dict[str, str]
    learning_rate: float | None = None

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Saved:
        """Return the checkpoint at a path, with or without its `.npz`.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no checkpoint, or it cannot be read.
        """
        stem = os.fspath(path).removesuffix(".npz")
        try:
            with open(f"{stem}.json", encoding="utf-8") as stream:
                notes = json.load(stream)
            step, position = int(notes["step"]), int(notes["position"])
            # The files of earlier versions have no such entries.
            is_under_way, epoch = bool(notes.get("is_under_way", False)), notes.get("epoch")
            progress = Progress(step, position, is_under_way, epoch and int(epoch))
            rate = notes.get("learning_rate")
            saved = cls(f"{stem}.npz", progress, dict(notes["variables"]), rate)
        except FileNotFoundError:
            raise ArgumentValueError(f"there is no checkpoint {stem}.npz") from None
        except (ValueError, LookupError, TypeError) as error:
            raise ArgumentValueError(f"{stem}.json is damaged: {error}") from error
        if not os.path.exists(saved.path):
            raise ArgumentValueError(f"there is no checkpoint {saved.path}")
        return saved

    def mark(self) -> tuple[str, int, int]:
        """Return values that differ between this checkpoint and any other one, even at its path."""
        found = os.stat(self.path)
        return os.path.realpath(self.path), found.st_mtime_ns, found.st_ino

    def names(self) -> list[str]:
        """Return the names of all variables."""
        return sorted([*self.entries, "global_step"])

    def value(self, name: str) -> NDArray[Any]:
        """Return the value of a variable.

        Raises:
            UnknownNameError: (a `KeyError`) There is no variable of that name.
        """
        if name == "global_step":
            return np.asarray(self.progress.step, "int64")
        if name not in self.entries:
            raise UnknownNameError(
                f"{self.path} has no variable {name!r}.{did_you_mean(name, self.names())}"
            )
        with self._arrays() as arrays:
            value: NDArray[Any] = arrays[self.entries[name]]
        return value

    def restore_all(self, program: Program) -> None:
        """Put the whole checkpoint into a program that trains.

        If the model function now gives another learning rate, the program keeps that one.

        Raises:
            ArgumentValueError: (a `ValueError`) The checkpoint is of another model or optimizer, or
                damaged.
        """
        try:
            checkpoint.load(self.path, into=program.model)
        except ArgumentValueError as error:
            error.add_note(
                "Training goes on from the newest checkpoint in model_dir. Another model, or one "
                "with another optimizer, needs another model_dir"
            )
            raise
        rate = program.learning_rate
        if None not in (rate, self.learning_rate) and rate != self.learning_rate:
            program.model.optimizer.learning_rate = rate

    def restore_weights(self, program: Program) -> None:
        """Put the weights, and the seeds that are in the checkpoint, into a program by name.

        Raises:
            ArgumentValueError: (a `ValueError`) A weight is missing, or has another shape.
        """
        with self._arrays() as arrays:
            for name, variable in _in_common(program, self.entries, self.path):
                value = arrays[self.entries[name]]
                _check_shape(name, value, variable, self.path)
                like = np.asarray(variable)
                # Dtypes that NumPy does not know are stored as unsigned integers of their size.
                variable.assign(value.view(like.dtype) if like.dtype.kind == "V" else value)

    @contextlib.contextmanager
    def _arrays(self) -> Iterator[Any]:
        """Open the file, and raise one kind of error for all its faults."""
        with open(self.path, "rb") as stream:
            try:
                with np.load(stream, allow_pickle=False) as arrays:
                    yield arrays
            except (BatchflowError, OSError):
                raise
            except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError) as error:
                raise ArgumentValueError(f"{self.path} is damaged: {error}") from error


@dataclass(frozen=True)
class Live:
    """The state of a program that trains, where a checkpoint of it could stand.

    Attributes:
        program: The program.
        progress: How far training has come.
        version: A number that each step changes.
        lock: Held by the steps.
    """

    program: Program
    progress: Progress
    version: int
    lock: AbstractContextManager[Any]

    def mark(self) -> tuple[Any, ...]:
        """Return values that differ between this state and any other one."""
        return "live", self.version

    def restore_weights(self, program: Program) -> None:
        """Put the weights, and the seeds that both have, into a program by name.

        Raises:
            ArgumentValueError: (a `ValueError`) A weight is missing, or has another shape.
        """
        if program.source is not self.program:
            here, where = self.program.variables(), "the model in the mode 'train'"
            pairs = []
            for name, variable in _in_common(program, here, where):
                _check_shape(name, here[name], variable, where)
                if variable is not here[name]:
                    pairs.append((variable, here[name]))
            program.source, program.copy = self.program, copier(pairs)
        with self.lock:
            program.copy()


def _in_common(program: Program, known: Collection[str], where: str) -> Iterator[tuple[str, Any]]:
    """Go through the variables of a program that are known, and refuse weights that are not."""
    needed = {id(variable) for variable in program.model.weights}
    for name, variable in program.variables().items():
        if name in known:
            yield name, variable
        elif id(variable) in needed:  # and not the seed of a layer that is in this mode only
            raise ArgumentValueError(
                f"{where} has no variable {name!r}, which the model has in the mode "
                f"{program.spec.mode.value!r}. Make the same layers in the same order in "
                f"all modes, or name them.{did_you_mean(name, known)}"
            )


def _check_shape(name: str, value: Any, variable: Any, where: str) -> None:
    if tuple(value.shape) != tuple(variable.shape):
        raise ArgumentValueError(
            f"{where}: {name} has the shape {tuple(value.shape)}, and the model's has "
            f"{tuple(variable.shape)}"
        )


class Checkpoints:
    """The checkpoints of a folder.

    Args:
        folder: The folder. It is made by the first save.
        n_kept: The number of checkpoints to keep. None or 0: all.
    """

    def __init__(self, folder: str, n_kept: int | None) -> None:
        self._folder = folder
        self._n_kept = n_kept

    def latest(self) -> str | None:
        """Return the path of the newest checkpoint, or None."""
        names = self._names()
        return os.path.join(self._folder, f"{names[-1]}.npz") if names else None

    def save(self, program: Program, progress: Progress) -> str:
        """Save a program, and return the path of the checkpoint."""
        os.makedirs(self._folder, exist_ok=True)
        name = f"ckpt-{progress.step}"
        stem = os.path.join(self._folder, name)
        names = [one for one in self._names() if one != name and _step(one) < progress.step]
        checkpoint.save(program.model, f"{stem}.npz")
        notes = {
            "step": progress.step,
            "position": progress.position,
            "is_under_way": progress.is_under_way,
            "epoch": progress.epoch,
            "variables": _entries(program),
            "learning_rate": program.learning_rate,
        }
        _write_notes(f"{stem}.json", notes)
        names.append(name)
        kept = names[-self._n_kept :] if self._n_kept else names
        _write_notes(os.path.join(self._folder, _INDEX), {"version": _VERSION, "checkpoints": kept})
        self._clear(kept)
        return f"{stem}.npz"

    def begin_input_anew(self) -> None:
        """Note in the newest checkpoint that the input was read to its end."""
        latest = self.latest()
        if latest is None:
            return
        path = f"{latest.removesuffix('.npz')}.json"
        with open(path, encoding="utf-8") as stream:
            notes = json.load(stream)
        _write_notes(path, {**notes, "position": 0, "is_under_way": False})

    def pack(self, path: str | os.PathLike[str]) -> None:
        """Save the newest checkpoint, or the fact that there is none, to one file."""
        latest, file = self.latest(), checked_path(path)
        with replacing(file) as temporary, zipfile.ZipFile(temporary, "x") as archive:
            archive.writestr(_PACKED, "" if latest is None else os.path.basename(latest))
            if latest is not None:
                archive.write(latest, "state.npz")
                archive.write(f"{latest.removesuffix('.npz')}.json", "notes.json")

    def unpack(self, path: str | os.PathLike[str]) -> None:
        """Make the checkpoint in a file of `pack` the newest one. Later ones are removed.

        Raises:
            ArgumentValueError: (a `ValueError`) The file is damaged, or of another kind.
        """
        os.makedirs(self._folder, exist_ok=True)
        try:
            with zipfile.ZipFile(path) as archive:
                name = archive.read(_PACKED).decode().removesuffix(".npz")
                if name and not _NAME.fullmatch(name):
                    raise ArgumentValueError(f"{os.fspath(path)} is damaged")
                kept = [one for one in self._names() if name and _step(one) < _step(name)]
                for part in ("npz", "json") if name else ():
                    entry = "state.npz" if part == "npz" else "notes.json"
                    target = os.path.join(self._folder, f"{name}.{part}")
                    with (
                        replacing(target) as temporary,
                        open(temporary, "xb") as stream,
                        archive.open(entry) as source,
                    ):
                        shutil.copyfileobj(source, stream)
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise ArgumentValueError(
                f"{os.fspath(path)} is damaged, or no saved Estimator: {error}"
            ) from error
        kept += [name] if name else []
        _write_notes(os.path.join(self._folder, _INDEX), {"version": _VERSION, "checkpoints": kept})
        self._clear(kept)

    def _names(self) -> list[str]:
        file = os.path.join(self._folder, _INDEX)
        try:
            with open(file, encoding="utf-8") as stream:
                index = json.load(stream)
            version, names = index["version"], [str(name) for name in index["checkpoints"]]
        except FileNotFoundError:
            return []
        except (ValueError, LookupError, TypeError) as error:
            raise ArgumentValueError(f"{file} is damaged: {error}") from error
        if version != _VERSION:
            raise ArgumentValueError(
                f"{file} has the version {version}, and this batchflow reads {_VERSION}: update it"
            )
        return names

    def _clear(self, kept: list[str]) -> None:
        for file in os.listdir(self._folder):
            found = _LEFT_OVER.fullmatch(file)
            if found and file != _INDEX and file.rpartition(".")[0] not in kept:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, file))


def _step(name: str) -> int:
    return int(name.rpartition("-")[2])


def _entries(program: Program) -> dict[str, str]:
    """Return the entry of each variable in the file of the model's state."""
    entry_of = {id(variable): entry for entry, variable in state_variables(program.model).items()}
    named = {name: entry_of[id(variable)] for name, variable in program.variables().items()}
    for variable in program.model.optimizer.variables:
        name = f"optimizer/{variable.path.rpartition('/')[2]}"
        while name in named:
            name += "_"
        named[name] = entry_of[id(variable)]
    return named


def _write_notes(path: str, notes: dict[str, Any]) -> None:
    """Replace a file of notes."""
    with replacing(path) as temporary, open(temporary, "x", encoding="utf-8") as stream:
        json.dump(notes, stream, indent=1)
