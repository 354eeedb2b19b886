"""The options of a run that have to do with what it leaves behind, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from batchflow.errors import ArgumentTypeError, ArgumentValueError


class Tracker(Protocol):
    """A board: what values of a run are written to."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values behind a batch; `step` counts the batches of the run from 1 on."""

    def close(self) -> None:
        """End the run."""


def saving_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a run that is saved and goes on."""
    checkpoint, state = given.get("checkpoint"), given.get("state")
    resume, changed = given.get("resume", "auto"), given.get("changed")
    if resume not in ("auto", "never", "must"):
        raise ArgumentValueError(f'resume is "auto", "never" or "must", got {resume!r:.60}')
    if changed not in (None, "refuse", "allow"):
        raise ArgumentValueError(f'changed is "refuse" or "allow", got {changed!r:.60}')
    if resume == "must" and checkpoint is None:
        raise ArgumentValueError('resume="must" goes with checkpoint=, the directory to go on from')
    if state is not None and not isinstance(state, Mapping):
        raise ArgumentTypeError(f"state is what run.state_dict() returns, got {state!r:.60}")
    if state is not None and checkpoint is not None:
        raise ArgumentValueError("give checkpoint, which has a state of its own, or state")
    if checkpoint is not None:
        from batchflow.checkpoints.options import checked_checkpoint  # on use, for a light import

        checkpoint = checked_checkpoint(checkpoint)
    return {"checkpoint": checkpoint, "resume": resume, "changed": changed, "state": state}


def checked_tracker(given: Any) -> Any:
    """Return where the values of a run are written; None: nowhere.

    Raises:
        ArgumentTypeError: It is no such place.
    """
    if given is None or isinstance(given, (str, os.PathLike)):
        return given
    methods = ("log", "close")
    if isinstance(given, type) or not all(callable(getattr(given, m, None)) for m in methods):
        raise ArgumentTypeError(
            f"track is a path, or an object with log(step, values) and close(), got {given!r:.60}"
        )
    return given
