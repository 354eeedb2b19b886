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

import hashlib
import json
import os
import re
import shutil
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from batchflow.checkpoints import copies
from batchflow.checkpoints.lock import DirectoryLock
from batchflow.checkpoints.options import Keep
from batchflow.errors import ArgumentValueError, BatchflowError
from batchflow.files import making_folder

FORMAT = 1
_MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{12})")
_LEFT = re.compile(r"(temp-step-\d{12}|old-step-\d{12}-[0-9a-f]+)")


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
    for name, facts in manifest["files"].items():
        file = os.path.join(folder, name)
        if os.path.isabs(name) or ".." in name.split("/"):
            raise ArgumentValueError(f"{folder}: {name!r} is no path inside of it")
        try:
            status = _lstat_inside(folder, name)
        except OSError as error:
            raise ArgumentValueError(f"{file} cannot be read: {error}") from None
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


_RANK = re.compile(r"rank_(\d+)_of_(\d+)")


def rank_folder(directory: str, rank: int, n_ranks: int) -> str:
    """Return the folder of one of several runs that share an epoch, inside of their directory."""
    return os.path.join(directory, f"rank_{rank}_of_{n_ranks}")


def newest_of_ranks(directory: str, rank: int, n_ranks: int) -> Saved | None:
    """Return the newest checkpoint of a rank that all ranks have, and have whole.

    If as many ranks have saved nothing, that of another number of them is found.
    """
    names = os.listdir(directory) if os.path.isdir(directory) else []
    counts = {int(match[2]) for name in names if (match := _RANK.fullmatch(name))}
    for count in sorted(counts, key=lambda count: (count != n_ranks, -count)):
        folders = [rank_folder(directory, other, count) for other in range(count)]
        steps = [{step for step, _ in found(folder)} for folder in folders]
        for step in sorted(set.intersection(*steps), reverse=True):
            try:
                every = [os.path.join(folder, f"step-{step:012d}") for folder in folders]
                manifests = [checked(folder) for folder in every]
                return Saved(step, every[rank % count], manifests[rank % count])
            except ArgumentValueError as error:
                warnings.warn(f"a checkpoint is left out: {error}", stacklevel=2)
    return None


class Store:
    """The directory of a run that saves.

    Args:
        directory: Its path. It is made if need be, and locked.
        keep: Which checkpoints stay.

    Raises:
        ArgumentValueError: The path is no folder, or cannot be written to.
        BatchflowError: Another run writes to it.
    """

    def __init__(self, directory: str | os.PathLike[str], keep: Keep) -> None:
        self.directory = os.path.abspath(directory)
        self._keep = keep
        try:
            os.makedirs(self.directory, exist_ok=True)
            self._lock = DirectoryLock(self.directory)
        except BatchflowError:
            raise
        except OSError as error:
            raise ArgumentValueError(
                f"checkpoints cannot be written to {self.directory}: {error}"
            ) from error
        for name in os.listdir(self.directory):  # of a run that was killed while it wrote
            if _LEFT.fullmatch(name):
                shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)
        copies.clear(self.directory)
        self._writing: threading.Thread | None = None
        self._error: BaseException | None = None

    def close(self) -> None:
        """Wait for what is being written, and let others have the directory.

        Raises:
            Exception: What has gone wrong with it.
        """
        try:
            self.wait()
        finally:
            self._lock.close()

    def wait(self) -> None:
        """Wait for what is being written.

        Raises:
            Exception: What has gone wrong with it.
        """
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error

    def save(self, step: int, fill: Callable[[str], None], facts: Mapping[str, Any]) -> None:
        """Let a thread write a checkpoint; wait first for the one before it.

        Args:
            step: Behind how many batches.
            fill: Writes the files into a folder that is given. Called in another thread.
            facts: More entries of the manifest, for JSON.

        Raises:
            Exception: What has gone wrong with the one before it.
        """
        self.wait()

        def write() -> None:
            try:
                self._write(step, fill, facts)
            except BaseException as error:  # noqa: BLE001  raised at the next save, or at the end
                error.add_note(f"while the checkpoint of step {step} was written")
                self._error = error

        self._writing = threading.Thread(target=write, name="batchflow-checkpoint")
        self._writing.start()

    def _write(self, step: int, fill: Callable[[str], None], facts: Mapping[str, Any]) -> None:
        folder = os.path.join(self.directory, f"step-{step:012d}")
        if os.path.isdir(folder):
            if _is_of_run(folder, facts.get("run_id")):
                return  # it is this one
            self._throw_away(folder)
        with making_folder(folder) as temporary:
            shutil.rmtree(temporary, ignore_errors=True)
            os.mkdir(temporary)
            fill(temporary)
            files = {
                os.path.relpath(os.path.join(inner, name), temporary): name
                for inner, _, names in os.walk(temporary)
                for name in names
            }
            manifest = {
                "format": FORMAT,
                "step": step,
                **facts,
                "files": {
                    name.replace(os.sep, "/"): {
                        "size": os.path.getsize(os.path.join(temporary, name)),
                        "sha256": _sha256(os.path.join(temporary, name)),
                    }
                    for name in sorted(files)
                },
            }
            with open(os.path.join(temporary, _MANIFEST), "x", encoding="utf-8") as stream:
                json.dump(manifest, stream, indent=1)
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
        for step in manifests.keys() - kept:
            self._throw_away(os.path.join(self.directory, f"step-{step:012d}"))

    def _throw_away(self, folder: str) -> None:
        """Remove a checkpoint: it loses its name first, so that no half of it is found."""
        parent, name = os.path.split(folder)
        away = os.path.join(parent, f"old-{name}-{os.urandom(4).hex()}")
        os.rename(folder, away)
        shutil.rmtree(away, ignore_errors=True)


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


def _is_of_run(folder: str, run_id: Any) -> bool:
    try:
        return run_id is not None and checked(folder).get("run_id") == run_id
    except ArgumentValueError:
        return False


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
    except OSError as error:
        raise ArgumentValueError(f"{file} cannot be read: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
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
