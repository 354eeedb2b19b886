"""The settings of an Estimator: the folder of its files, and how often it writes them."""

from __future__ import annotations

import operator
import os
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError


@dataclass(frozen=True)
class RunConfig:
    """The settings of an `Estimator`.

    Args:
        model_dir: The folder of checkpoints and summaries. None: the Estimator's.
        tf_random_seed: The seed of initial weights and dropout, where the model function sets none
            itself. None: another one each time.
        save_checkpoints_steps: Save after this many steps. None: as `save_checkpoints_secs` says.
        save_checkpoints_secs: Save when this many seconds have passed. None: not by time. Every
            `train` saves at its end.
        keep_checkpoint_max: The number of checkpoints to keep. None or 0: all.
        save_summary_steps: Summaries are written at the first step, and at every multiple of this.
        log_step_count_steps: The loss and the speed are logged (to the logger `batchflow`, as
            information) at every multiple of this. None: never.

    Raises:
        ArgumentTypeError: (a `TypeError`) A setting is of another type.
        ArgumentValueError: (a `ValueError`) A count is not positive, or both settings of when to
            save checkpoints are given.
    """

    model_dir: str | None = None
    tf_random_seed: int | None = 1
    save_checkpoints_steps: int | None = None
    save_checkpoints_secs: float | None = None
    keep_checkpoint_max: int | None = 5
    save_summary_steps: int = 100
    log_step_count_steps: int | None = 100

    def __post_init__(self) -> None:
        if self.model_dir is not None:
            object.__setattr__(self, "model_dir", os.fspath(self.model_dir))
        if self.save_summary_steps is None:
            raise ArgumentTypeError("RunConfig: save_summary_steps is an int, got None")
        for name, least in _COUNTS.items():
            number = whole_number(getattr(self, name), f"RunConfig: {name}", least)
            object.__setattr__(self, name, number)
        steps, seconds = self.save_checkpoints_steps, self.save_checkpoints_secs
        if steps is not None and seconds is not None:
            raise ArgumentValueError(
                "RunConfig: give save_checkpoints_steps or save_checkpoints_secs, not both"
            )
        if steps is None and seconds is None:
            object.__setattr__(self, "save_checkpoints_secs", 600)
        _check_seconds(seconds)

    @classmethod
    def of(cls, config: Any, model_dir: Any) -> RunConfig:
        """Return a config with a folder: the given one, or a temporary one.

        Raises:
            ArgumentTypeError: (a `TypeError`) `config` is something else.
            ArgumentValueError: (a `ValueError`) Both have a folder, and not the same.
        """
        if config is None:
            config = cls()
        if not isinstance(config, cls):
            raise ArgumentTypeError(
                f"Estimator: config is a RunConfig, got {type(config).__name__}"
            )
        given = None if model_dir is None else os.fspath(model_dir)
        if given and config.model_dir and given != config.model_dir:
            raise ArgumentValueError(
                f"Estimator: model_dir is {given!r}, and that of config is {config.model_dir!r}: "
                "give one of them"
            )
        folder = given or config.model_dir or tempfile.mkdtemp(prefix="estimator-")
        return replace(config, model_dir=folder)


# The settings that are whole numbers, with their smallest values.
_COUNTS = {
    "tf_random_seed": None,
    "save_checkpoints_steps": 1,
    "keep_checkpoint_max": 0,
    "log_step_count_steps": 1,
    "save_summary_steps": 1,
}


def whole_number(value: Any, what: str, least: int | None = 1) -> int | None:
    """Return a whole number, also one of NumPy, as an int. None stays None.

    Raises:
        ArgumentTypeError: (a `TypeError`) The value is something else.
        ArgumentValueError: (a `ValueError`) The value is less than `least`.
    """
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ArgumentTypeError(f"{what} is an int, got {value!r:.60}")
    if least is not None and number < least:
        raise ArgumentValueError(f"{what} is at least {least}, got {number}")
    return number


def _check_seconds(value: Any) -> None:
    if value is None:
        return
    what = "RunConfig: save_checkpoints_secs"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ArgumentTypeError(f"{what} is a number or None, got {value!r:.60}")
    if not value >= 0:
        raise ArgumentValueError(f"{what} is at least 0, got {value!r}")
