"""Steps that are known only when a batch is there: expressions resolved, results stored, coins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType
from typing import Any, NoReturn

from batchflow.batch import Batch
from batchflow.engine.steps import ReadyStep, ReplayNote, run_steps
from batchflow.errors import (
    ActionResultError,
    ArgumentValueError,
    SkipBatch,
    StopPipeline,
    add_note_once,
)
from batchflow.plan import BoundStep
from batchflow.plan.expressions import Expression, expressions_in, resolved

__all__ = [
    "awaited",
    "refuse_coroutine",
    "store",
    "with_chance",
    "with_late_arguments",
    "with_late_values",
]


def with_late_values(
    bound: BoundStep, function: Callable[..., Any], own_args: Sequence[Any]
) -> Callable[..., Any]:
    """Make a function that resolves its arguments, calls the step's, and stores its value.

    Args:
        bound: The step. A model's descriptor and the place that `update` stores to are left as
            they are.
        function: What is called.
        own_args: The step's positional arguments, those of a model left out.

    Returns:
        A function with the same arguments, which returns a batch.
    """
    save_to, name = bound.save_to, bound.step.name
    late_args, late_kwargs = _late_places(bound, own_args, int(bound.model is not None))

    def call(batch: Batch, *args: Any, **kwargs: Any) -> Any:
        given = list(args)
        for place, value in late_args:
            given[place] = _resolved(value, batch)
        for key, value in late_kwargs:
            kwargs[key] = _resolved(value, batch)
        result = function(batch, *given, **kwargs)
        refuse_coroutine(result, name)
        if bound.returns_batch and (save_to is None or isinstance(result, Batch)):
            if save_to is not None:
                raise ActionResultError(
                    f"the action {name!r} returned a batch, and no value to store by "
                    f"save_to={save_to!r}"
                )
            return result
        if save_to is not None:
            store(save_to, result, batch)
        return batch

    return call


def with_late_arguments(
    bound: BoundStep, own_args: Sequence[Any]
) -> Callable[[Batch], tuple[list[Any], dict[str, Any]]]:
    """Make a function that gives the arguments of a step for a batch, that of its model left out.

    Args:
        bound: The step.
        own_args: Its positional arguments.
    """
    late_args, late_kwargs = _late_places(bound, own_args, 0)

    def arguments(batch: Batch) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = list(own_args), dict(bound.kwargs)
        for place, value in late_args:
            args[place] = _resolved(value, batch)
        for key, value in late_kwargs:
            kwargs[key] = _resolved(value, batch)
        return args, kwargs

    return arguments


def _late_places(
    bound: BoundStep, own_args: Sequence[Any], n_injected: int
) -> tuple[list[tuple[int, Any]], list[tuple[str, Any]]]:
    """Tell which arguments are to be resolved for each batch."""
    late_args = [
        (place + n_injected, value)
        for place, value in enumerate(own_args)
        if _is_late(value) and not (bound.stores and place == 0)
    ]
    return late_args, [(key, value) for key, value in bound.kwargs.items() if _is_late(value)]


def awaited(function: Callable[..., Any], loop: Any) -> Callable[..., Any]:
    """Make a function of a coroutine function: it runs in the loop, and is waited for."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return loop.run(function(*args, **kwargs))

    return call


def with_chance(
    steps: Sequence[ReadyStep], probability: float, replay_note: ReplayNote
) -> Callable[[Batch], Batch | None]:
    """Make a function that throws the batch's coin and takes it through the steps, or not."""

    def call(batch: Batch) -> Batch | None:
        if batch.rng.random() < probability:
            return run_steps(batch, steps, replay_note)
        return batch

    return call


def refuse_coroutine(value: Any, name: str) -> None:
    """Refuse the value of a step that is a coroutine.

    Raises:
        ActionResultError: It is one.
    """
    if value.__class__ is CoroutineType:
        _refuse(value, repr(name))


def _refuse(coroutine: Any, name: str) -> NoReturn:
    coroutine.close()
    raise ActionResultError(
        f"the step {name} gave a coroutine, which nobody awaits; write the action, or the "
        "function that is called, with async def"
    )


def _is_late(value: Any) -> bool:
    return any(True for _ in expressions_in(value))


def _resolved(value: Any, batch: Batch) -> Any:
    try:
        given = resolved(value, batch)
    except (SkipBatch, StopPipeline):
        raise
    except Exception as error:
        add_note_once(error, f"while {value!r} was resolved")
        raise
    if given.__class__ is CoroutineType:
        _refuse(given, f"with {value!r}")
    return given


def store(target: Any, value: Any, batch: Batch) -> None:
    """Store a value in one place; or the parts of a value in several."""
    if isinstance(target, Expression):
        target._store(batch, value)
    elif isinstance(target, Mapping):
        if not isinstance(value, Mapping) or not set(target) <= set(value):
            raise ArgumentValueError(
                f"save_to names {sorted(target)}, so the value must be a mapping with these keys, "
                f"got {value!r:.60}"
            )
        for key, part in target.items():
            store(part, value[key], batch)
    else:
        if not isinstance(value, (list, tuple)) or len(value) != len(target):
            raise ArgumentValueError(
                f"save_to names {len(target)} places, so the value must be a tuple of as many, got "
                f"{value!r:.60}"
            )
        for place, part in zip(target, value, strict=True):
            store(place, part, batch)
