"""How an Estimator runs: where it keeps its files, and how often it writes them."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["RunConfig"]


@dataclass(frozen=True)
class RunConfig:
    """The settings of an `Estimator`.

    Args:
        model_dir: The folder of checkpoints and summaries. None: the Estimator's.
        tf_random_seed: What initial weights and dropout are derived from, where the model function
            seeds nothing itself. None: another one each time.
        save_checkpoints_steps: Save after this many steps. None: `save_checkpoints_secs` says it.
        save_checkpoints_secs: Save when this many seconds have passed. None: not by time. Every
            `train` saves at its end.
        keep_checkpoint_max: How many checkpoints are kept. None or 0: all.
        save_summary_steps: Summaries are written at the first step, and at every multiple of this.
        log_step_count_steps: The loss and the speed are logged (to the logger `batchflow`, as
            information) at every multiple of this. None: never.

    Raises:
        ArgumentTypeError: (a `TypeError`) A setting is of another type.
        ArgumentValueError: (a `ValueError`) A count is not positive, or both ways to say when
            checkpoints are saved are given.
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
        if self.tf_random_seed is not None:
            _check(self.tf_random_seed, "tf_random_seed", int)
        steps, seconds = self.save_checkpoints_steps, self.save_checkpoints_secs
        if steps is not None and seconds is not None:
            raise ArgumentValueError(
                "RunConfig: give save_checkpoints_steps or save_checkpoints_secs, not both"
            )
        if steps is None and seconds is None:
            object.__setattr__(self, "save_checkpoints_secs", 600)
        _check(steps, "save_checkpoints_steps", int, least=1)
        _check(seconds, "save_checkpoints_secs", (int, float), least=0)
        _check(self.keep_checkpoint_max, "keep_checkpoint_max", int, least=0)
        _check(self.log_step_count_steps, "log_step_count_steps", int, least=1)
        if self.save_summary_steps is None:
            raise ArgumentTypeError("RunConfig: save_summary_steps is an int, got None")
        _check(self.save_summary_steps, "save_summary_steps", int, least=1)

    @classmethod
    def of(cls, config: Any, model_dir: Any) -> RunConfig:
        """Give a config with the folder in it: the one that is given, or a temporary one.

        Raises:
            ArgumentTypeError: (a `TypeError`) `config` is something else.
            ArgumentValueError: (a `ValueError`) Both say a folder, and not the same.
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


def _check(
    value: object, name: str, kind: type | tuple[type, ...], least: int | None = None
) -> None:
    if value is None:
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        word = "an int" if kind is int else "a number"
        raise ArgumentTypeError(f"RunConfig: {name} is {word} or None, got {value!r}")
    if least is not None and value < least:  # type: ignore[operator]
        raise ArgumentValueError(f"RunConfig: {name} is at least {least}, got {value!r}")
