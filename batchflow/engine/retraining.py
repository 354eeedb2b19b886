"""The warning for a model that is trained on the same epoch again.

A loop that runs a pipeline once for each epoch, with a seed written in it, shows one epoch again
and again: the same order, and the same random numbers. That may be meant, and often is not.

Guarantees:
    - A pipeline value warns once, and only where a number was given for its seed or order.
    - It does not warn of a model that was made anew since.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow.engine.options import RunOptions
from batchflow.engine.program import Program
from batchflow.plan.model_steps import evaluate_model

if TYPE_CHECKING:
    from batchflow.engine.source import Schedule

_PACKAGE = str(Path(__file__).parent.parent / "_")[:-1]


def note_training(program: Program, options: RunOptions, schedule: Schedule) -> None:
    """Record a run that begins, if it trains models."""
    key = _beginning(options)
    if key is None or program.state.trained is None:
        return
    made = {name: slot.look() for name, slot in _trained_by(program)}
    if made:
        n_batches = schedule.n_batches
        last = None if n_batches is None else ceil(n_batches / schedule.batches_per_epoch)
        program.state.trained[key] = last, made


def warn_of_repeated_training(program: Program, options: RunOptions) -> None:
    """Warn if a run like this one has trained the same models on its first epoch before."""
    key, trained = _beginning(options), program.state.trained
    if not trained or key not in trained:
        return
    n_epochs, made = trained[key]
    again = [
        name
        for name, slot in _trained_by(program)
        # What was not made yet was made by that run; or it was given as an object, and is the same.
        if name in made and (made[name] is None or slot.look() is made[name])
    ]
    if not again:
        return
    program.state.trained = None  # told once
    first, name = options.first_epoch, again[0]
    others = "" if n_epochs is None else f"first_epoch={first + n_epochs} for what follows, or "
    warnings.warn(
        f"the model {name!r} has been trained on epoch {first} of this pipeline before, and a run "
        "with the same seed or shuffle shows it the same batches again, in the same order and with "
        f"the same random numbers. Give {others}n_epochs=... for several epochs in one run; or "
        f'begin anew: pipeline.reset("models"), or MyBatch.models.reset({name!r})',
        stacklevel=_depth(),
    )


def _beginning(options: RunOptions) -> tuple[Any, ...] | None:
    """Return what the first epoch is made from; None where no number was given for it."""
    seed = None if options.draws_seed else options.seed
    shuffle = options.shuffle if isinstance(options.shuffle, int) else None
    has_number = seed is not None or not isinstance(shuffle, bool | None)
    return (options.first_epoch, seed, shuffle) if has_number else None


def _trained_by(program: Program) -> Iterator[tuple[str, Any]]:
    """Go through the models that a pipeline trains, and those inside of it."""
    for leaf in program.plan.leaves:
        if leaf.singleton and leaf.model is not None and leaf.function is not evaluate_model:
            yield leaf.model, program.models.slot(leaf.model)
    for other in program.plan.nested:
        yield from _trained_by(other._program())


def _depth() -> int:
    """Return how many frames above the caller the user's code is."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        depth, frame = depth + 1, frame.f_back
    return depth
