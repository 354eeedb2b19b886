"""One directory of checkpoints.

    directory/
      lock                    held by the run that writes
      step-000000000120/      one checkpoint: any files, and
        manifest.json         what they are: their sizes and sha256

Guarantees:
    - A checkpoint has its name when all of it is on the disk, and never before. What a crash has
      left is thrown away by the next writer.
    - One that is found is whole: files that are missing, damaged or links are told by a warning,
      and the one before it is found.
    - The newest one is never thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batchflow.checkpoints import copies
from batchflow.checkpoints.lock import DirectoryLock
from batchflow.checkpoints.options import Keep
from batchflow.errors import ArgumentValueError, BatchflowError
from batchflow.files import making_folder

FORMAT = 1
_MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{12})")
_LEFT = re.compile(r"temp-step-\d{12}|old-step-\d{12}-[0-9a-f]+|\.began\.json\.[0-9a-f]+\.tmp")


class Saved(NamedTuple):
    """A checkpoint that is whole.

    Attributes:
        step: Behind how many batches it was saved.
        folder: Its path.
        manifest: What is said of it.
    """

    step: int
    folder: str
    manifest: dict[str, Any]


def found(directory: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Go through the steps of a directory and their folders, the newest first."""
    if not os.path.isdir(directory):
        return
    names = (match for name in os.listdir(directory) if (match := _NAME.fullmatch(name)))
    for match in sorted(names, key=lambda match: match[0], reverse=True):
        yield int(match[1]), os.path.join(directory, match[0])


def checked(folder: str) -> dict[str, Any]:
    """Return the manifest of a checkpoint, if that is whole.

    Raises:
        ArgumentValueError: It is not; the message names the file.
    """
    manifest = _manifest_of(folder)
    named = _NAME.fullmatch(os.path.basename(folder))
    if named is not None and manifest.get("step") != int(named[1]):
        raise ArgumentValueError(f"{folder} is of the step {manifest.get('step')!r:.20}")
    for name, facts in manifest["files"].items():
        file = os.path.join(folder, name)
        if os.path.isabs(name) or ".." in name.split("/"):
            raise ArgumentValueError(f"{folder}: {name!r} is no path inside of it")
        try:
            status = _lstat_inside(folder, name)
        except (OSError, ValueError) as error:  # some names are none of a file
            raise ArgumentValueError(f"{file!r:.200} cannot be read: {error}") from None
        if not stat.S_ISREG(status.st_mode):
            raise ArgumentValueError(f"{file} is no file of its own: links are not followed")
        if status.st_size != facts["size"] or _sha256(file) != facts["sha256"]:
            raise ArgumentValueError(f"{file} is damaged: it is not what was written")
    return manifest


def newest(directory: str) -> Saved | None:
    """Return the newest checkpoint that is whole; warn of damaged ones."""
    for step, folder in found(directory):
        try:
            return Saved(step, folder, checked(folder))
        except ArgumentValueError as error:
            warnings.warn(f"a checkpoint is left out: {error}", stacklevel=2)
    return None


class Store:
    """The directory of a run that saves.

    Args:
        directory: Its path. It is made if need be, and locked.
        keep: Which checkpoints stay.
        others: The directories of runs that go on from a step which all of them have, this one's
            included: the newest such step stays, too, and the one behind it, which those that are
            late will have next.

    Raises:
        ArgumentValueError: The path is no folder, or cannot be written to.
        BatchflowError: Another run writes to it.
    """

    def __init__(
        self, directory: str | os.PathLike[str], keep: Keep, others: Sequence[str] = ()
    ) -> None:
        self.directory = os.path.abspath(directory)
        self._keep, self._others = keep, others
        try:
            os.makedirs(self.directory, exist_ok=True)
            self._lock = DirectoryLock(self.directory)
        except BatchflowError:
            raise
        except OSError as error:
            raise ArgumentValueError(
                f"checkpoints cannot be written to {self.directory}: {error}"
            ) from error
        _clear(self.directory)
        self._writing: list[threading.Thread] = []  # the first one writes, the second one waits
        self._error: BaseException | None = None
        self._cost = 0.0

    def close(self) -> None:
        """Wait for what is being written, and let others have the directory.

        Raises:
            Exception: What has gone wrong with it.
        """
        try:
            self.wait()
        finally:
            self._lock.close()

    @property
    def cost(self) -> float:
        """The seconds of a CPU that the last writing has taken; infinite while one goes on."""
        return math.inf if any(thread.is_alive() for thread in self._writing) else self._cost

    def wait(self, most: int = 0) -> None:
        """Wait until no more than so many checkpoints are being written, or wait for that.

        Raises:
            Exception: What has gone wrong with one.
        """
        self._writing = [thread for thread in self._writing if thread.is_alive()]
        while len(self._writing) > most:
            self._writing.pop(0).join()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error

    def save(self, step: int, fill: Callable[[str], None], facts: Mapping[str, Any]) -> None:
        """Let a thread write a checkpoint, behind the one that is being written.

        Args:
            step: Behind how many batches.
            fill: Writes the files into a folder that is given. Called in another thread.
            facts: More entries of the manifest, for JSON.

        Raises:
            Exception: What has gone wrong with one before it.
        """
        self.wait(most=1)
        ahead = list(self._writing)

        def write() -> None:
            for thread in ahead:
                thread.join()
            try:
                self._write(step, fill, facts)
            except BaseException as error:  # noqa: BLE001  raised at the next save, or at the end
                error.add_note(f"while the checkpoint of step {step} was written")
                self._error = error
            self._cost = time.thread_time()

        self._writing.append(threading.Thread(target=write, name="batchflow-checkpoint"))
        self._writing[-1].start()

    def forget_behind(self, step: int) -> None:
        """Throw away the checkpoints of later steps: the run goes on from this one."""
        for other, folder in found(self.directory):
            if other > step:
                self._throw_away(folder)

    def _write(self, step: int, fill: Callable[[str], None], facts: Mapping[str, Any]) -> None:
        folder = os.path.join(self.directory, f"step-{step:012d}")
        away = _away(folder)
        with making_folder(folder, away) as temporary:
            shutil.rmtree(temporary, ignore_errors=True)
            os.mkdir(temporary)
            fill(temporary)
            names = [
                os.path.relpath(os.path.join(inner, name), temporary)
                for inner, _, names in os.walk(temporary)
                for name in names
            ]
            manifest = {
                "format": FORMAT,
                "step": step,
                **facts,
                "files": {
                    name.replace(os.sep, "/"): {
                        "size": os.path.getsize(os.path.join(temporary, name)),
                        "sha256": _sha256(os.path.join(temporary, name)),
                    }
                    for name in sorted(names)
                },
            }
            with open(os.path.join(temporary, _MANIFEST), "x", encoding="utf-8") as stream:
                json.dump(manifest, stream, indent=1)
        shutil.rmtree(away, ignore_errors=True)
        self._prune(step, manifest)

    def _prune(self, newest_step: int, manifest: Mapping[str, Any]) -> None:
        """Throw away what is not kept, and what another run has left."""
        manifests = {newest_step: manifest}
        for step, folder in found(self.directory):
            try:
                manifests.setdefault(step, _manifest_of(folder))
            except ArgumentValueError:
                manifests[step] = {}
        own = {s: m for s, m in manifests.items() if m.get("run_id") == manifest.get("run_id")}
        kept = {newest_step, *_kept(own, self._keep)}
        if self._others:
            shared = max(steps_of_all(self._others) & own.keys(), default=-1)
            kept.update(sorted(step for step in own if step >= shared)[: 1 + (shared >= 0)])
        for step in manifests.keys() - kept:
            self._throw_away(os.path.join(self.directory, f"step-{step:012d}"))

    def _throw_away(self, folder: str) -> None:
        """Remove a checkpoint: it loses its name first, so that no half of it is found."""
        away = _away(folder)
        os.rename(folder, away)
        shutil.rmtree(away, ignore_errors=True)


def steps_of_all(directories: Sequence[str]) -> set[int]:
    """Return the steps that each of several directories has."""
    return set[int].intersection(*({step for step, _ in found(folder)} for folder in directories))


def _clear(directory: str) -> None:
    """Clear up behind a run that was killed while it wrote.

    One that is whole, and has lost its place to it already, gets its name.
    """
    for name in sorted(os.listdir(directory), reverse=True):  # `temp-` before `old-`
        if not _LEFT.fullmatch(name):
            continue
        path, folder = os.path.join(directory, name), os.path.join(directory, name[5:])
        if name.startswith("temp-") and not os.path.exists(folder):
            with contextlib.suppress(ArgumentValueError, OSError):
                checked(path)
                os.rename(path, folder)
                continue
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    copies.clear(directory)


def _away(folder: str) -> str:
    parent, name = os.path.split(folder)
    return os.path.join(parent, f"old-{name}-{os.urandom(4).hex()}")


def _kept(manifests: Mapping[int, Mapping[str, Any]], keep: Keep) -> set[int]:
    """Return the steps of the checkpoints that stay."""
    steps = sorted(manifests)
    kept = set(steps[-keep.last :])
    if keep.every is not None:
        first: dict[int, int] = {}
        for step in steps:
            first.setdefault(step // keep.every, step)
        kept.update(first.values())
    if keep.best is not None:
        name, direction, count = keep.best
        values = {s: manifests[s].get("values", {}).get(name) for s in steps}
        known = [s for s in steps if isinstance(values[s], (int, float)) and values[s] == values[s]]
        known.sort(key=lambda step: (values[step], step), reverse=direction == "max")
        kept.update(known[:count])
    return kept


def _manifest_of(folder: str) -> dict[str, Any]:
    file = os.path.join(folder, _MANIFEST)
    try:
        if not stat.S_ISREG(_lstat_inside(folder, _MANIFEST).st_mode):
            raise ArgumentValueError(f"{file} is no file of its own: links are not followed")
        with open(file, encoding="utf-8") as stream:
            manifest = json.load(stream)
        version = manifest["format"]
        files = manifest["files"].items()
        is_whole = all(isinstance(f["size"], int) and f["sha256"] for _, f in files)
        is_whole = is_whole and isinstance(manifest["run_id"], str)
    except OSError as error:
        raise ArgumentValueError(f"{file} cannot be read: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ArgumentValueError):
            raise
        raise ArgumentValueError(f"{file} is damaged: {error}") from None
    if version != FORMAT or not is_whole:
        raise ArgumentValueError(
            f"{file} has the format {version!r}, and this batchflow reads {FORMAT}: update it"
        )
    return dict(manifest)


def _lstat_inside(folder: str, name: str) -> os.stat_result:
    """Return the status of a file; an error if a folder on the way is a link."""
    path = folder
    status = os.lstat(path)
    for part in name.split("/"):
        if not stat.S_ISDIR(status.st_mode):
            raise OSError(f"{path} is no folder of its own: links are not followed")
        path = os.path.join(path, part)
        status = os.lstat(path)
    return status


def _sha256(file: str) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
