"""Ranks: runs that share an epoch, each with a directory of its own inside of one.

    directory/
      ranks.lock              held while a rank that starts looks where it begins
      rank_0_of_2/            the directory of a rank: see `store.py`
        began.json            where it has begun, and at which start

A *start* is when the first rank begins, and others join it while one of them runs.

Guarantees:
    - All ranks of a start begin at one step: the newest one that all of them had whole, when the
      first of them began. A later one cannot take a newer step, whatever was saved since then.
    - The newest step that all ranks have, and the next one of each, are never thrown away, however
      far one of them is ahead.
    - A step is of one order, which all ranks share.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from batchflow.checkpoints.lock import is_held, one_at_a_time
from batchflow.checkpoints.options import Keep
from batchflow.checkpoints.store import Saved, Store, checked, steps_of_all
from batchflow.errors import ArgumentValueError, BatchflowError
from batchflow.files import replacing

_RANK = re.compile(r"rank_(\d+)_of_(\d+)")
_BEGAN = "began.json"


class _Began(NamedTuple):
    """Where a rank has begun.

    Attributes:
        start: The number of the start.
        step: The step; None: anew.
        of: How many ranks had saved that step.
    """

    start: int = 0
    step: int | None = None
    of: int = 0


def opened(
    directory: str, rank: int, n_ranks: int, keep: Keep, *, anew: bool
) -> tuple[Store, Saved | None]:
    """Open the directory of a rank, and find where it begins.

    Args:
        directory: That of all ranks.
        rank: Its number.
        n_ranks: How many there are.
        keep: Which checkpoints stay.
        anew: Whether the first of them begins anew, whatever is there.

    Raises:
        ArgumentValueError: The directory cannot be written to.
        BatchflowError: Another run writes to it; or those ranks that run have begun at a step that
            this one does not have.
    """
    folders = rank_folders(directory, n_ranks)
    try:
        os.makedirs(directory, exist_ok=True)
        with one_at_a_time(directory, "ranks.lock"):
            store = Store(folders[rank], keep, folders)
            try:
                return store, _begun(store, directory, rank, n_ranks, anew=anew)
            except BaseException:
                store.close()
                raise
    except OSError as error:
        raise ArgumentValueError(
            f"checkpoints cannot be written to {directory}: {error}"
        ) from error


def _begun(store: Store, directory: str, rank: int, n_ranks: int, *, anew: bool) -> Saved | None:
    folders = rank_folders(directory, n_ranks)
    known = [_began_in(folder) for folder in folders]
    running = [one for one, folder in zip(known, folders, strict=True) if is_held(folder)]
    # This one is among them, with its last start.
    at = max(running, key=lambda began: began.start, default=known[rank])
    is_late = at.start > known[rank].start and not (anew and at.step is not None)
    if is_late:
        saved = _saved_at(directory, rank, at)
    else:
        found = None if anew else newest_of_ranks(directory, rank, n_ranks)
        saved, of = found or (None, 0)
        start = 1 + max(began.start for began in known)
        at = _Began(start, saved.step if saved else None, of)
    with (
        replacing(os.path.join(store.directory, _BEGAN)) as temporary,
        open(temporary, "x", encoding="utf-8") as file,
    ):
        json.dump(at._asdict(), file)
    return saved


def newest_of_ranks(directory: str, rank: int, n_ranks: int) -> tuple[Saved, int] | None:
    """Return the newest checkpoint of a rank that all ranks have, and have whole.

    If as many ranks have saved nothing, or others have gone on with what these had saved, that of
    another number of them is found.

    Returns:
        The checkpoint, and how many ranks have it; None: there is none.
    """
    names = os.listdir(directory) if os.path.isdir(directory) else []
    counts = {int(match[2]) for name in names if (match := _RANK.fullmatch(name))}
    best: tuple[Saved, int] | None = None
    runs: set[Any] = set()
    for count in sorted(counts, key=lambda count: (count != n_ranks, -count)):
        for step, every in _whole_steps(directory, count):
            ids = {manifest.get("run_id") for _, manifest in every}
            if best is None or (step > best[0].step and not ids.isdisjoint(runs)):
                best = Saved(step, *every[rank % count]), count
            runs |= ids
            break
    return best


def _whole_steps(directory: str, count: int) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """Go through the steps that all of so many ranks have whole, the newest first.

    With each come the folder and the manifest of each rank.
    """
    folders = rank_folders(directory, count)
    for step in sorted(steps_of_all(folders), reverse=True):
        try:
            every = [_checked_at(folder, step) for folder in folders]
        except ArgumentValueError as error:
            warnings.warn(f"a checkpoint is left out: {error}", stacklevel=2)
            continue
        first, *others = [_order_of(manifest) for _, manifest in every]
        if any(other != first for other in others):
            warnings.warn(
                f"a checkpoint is left out: in {directory} step {step} is of different orders "
                "at different ranks",
                stacklevel=2,
            )
            continue
        yield step, every


def _saved_at(directory: str, rank: int, at: _Began) -> Saved | None:
    """Return the checkpoint with which the ranks that run have begun.

    Raises:
        BatchflowError: It is not there, or not whole.
    """
    if at.step is None:
        return None
    try:
        return Saved(at.step, *_checked_at(rank_folders(directory, at.of)[rank % at.of], at.step))
    except ArgumentValueError as error:
        raise BatchflowError(
            f"the ranks that run have begun at step {at.step}, and rank {rank} cannot: {error}. "
            "End them, and start all of them again"
        ) from None


def rank_folders(directory: str, n_ranks: int) -> list[str]:
    """Return the folders of runs that share an epoch, inside of their directory."""
    return [os.path.join(directory, f"rank_{rank}_of_{n_ranks}") for rank in range(n_ranks)]


def _checked_at(folder: str, step: int) -> tuple[str, dict[str, Any]]:
    path = os.path.join(folder, f"step-{step:012d}")
    return path, checked(path)


def _order_of(manifest: Mapping[str, Any]) -> list[Any]:
    """Return what all ranks have in common: the order that they share."""
    facts = manifest.get("cursor", {}).get("fingerprint", {})
    return [facts.get(name) for name in ("batch_size", "drop_last", "first_epoch", "shuffle")]


def _began_in(folder: str) -> _Began:
    try:
        with open(os.path.join(folder, _BEGAN), encoding="utf-8") as file:
            return _Began(**json.load(file))
    except (OSError, ValueError, TypeError):
        return _Began()  # it has not begun yet, or no rank knows any more
