"""Calls of an older batchflow that would mean something else here, without a word."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchflow.errors import ArgumentTypeError
from batchflow.old_words import old_word
from batchflow.plan.leaves import F, L
from batchflow.plan.variable_leaf import MODES, V

if TYPE_CHECKING:
    from batchflow.batch.actions import Action
    from batchflow.plan.builtin import Builtin
    from batchflow.plan.steps import Step


def refuse_older_calls(step: Step, action: Action, builtin: Builtin | None, save_to: Any) -> None:
    """Refuse a call that meant something else in an older batchflow.

    Args:
        step: The step.
        action: Its action.
        builtin: What kind of step it is, or None.
        save_to: Where its value is stored, or None.
    """
    if save_to is not None and not action.has_parameter("mode"):
        _refuse_mode_beside(save_to, step)
    if builtin is not None and (builtin.stores or builtin.model):
        _refuse_older_values(step)


def _refuse_mode_beside(save_to: Any, step: Step) -> None:
    """Refuse how to store beside where to store: it would go to the function of the step."""
    mode = step.kwargs.get("mode")
    modes = list(mode) if isinstance(mode, (list, tuple)) else [mode]  # one for each place
    if not modes or any(not isinstance(m, str) or m not in MODES for m in modes):
        return
    if _takes_mode(step):
        return
    places = [save_to] if not isinstance(save_to, (list, tuple, Mapping)) else [*save_to]
    name = next((place._name for place in places if isinstance(place, V)), "name")
    raise ArgumentTypeError(
        f"{step}, chained at {step.where}: mode={mode!r} would be an argument of {step.name}. How "
        f"a variable is stored to is said there: save_to=V({name!r}, {modes[0]!r})"
    )


def _takes_mode(step: Step) -> bool:
    """Check whether the function that `call` calls has a parameter of that name itself."""
    if step.name != "call" or not step.args:
        return False
    function = getattr(step.args[0], "_value", step.args[0])
    try:
        return "mode" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # no function, or one in C that does not tell
        return True


def _refuse_older_values(step: Step) -> None:
    """Refuse `F(function)` as a value to store, or for a model: it is the function itself.

    And refuse `make_data` and `use_lock`, which a model would be given.
    """
    for word in ("make_data", "use_lock"):
        if word in step.kwargs:
            raise ArgumentTypeError(
                f"{step}, chained at {step.where}: {word} would be an argument of the model."
                f"{old_word(word, 'step')}"
            )
    said = f"{step}, chained at {step.where}"
    refuse_bare_functions([*step.args[1:], *step.kwargs.values()], said)


def refuse_bare_functions(value: Any, said: str) -> None:
    """Refuse `F(function)` as a value, or inside of one: an older batchflow called the function.

    Args:
        value: The value; lists, tuples and dictionaries are looked into.
        said: Where it was written, for the error.
    """
    if isinstance(value, (F, L)):
        letter = type(value).__name__
        raise ArgumentTypeError(
            f"{said}: {value!r} is the function itself, which is not called. To call it: "
            f"{value!r}(), with the batch: {value!r}(B()), with arguments: {value!r}(B.x, 3); for "
            f"the function itself leave {letter}() out"
        )
    if isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            refuse_bare_functions(part, said)
