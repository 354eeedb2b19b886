"""Steps that are known only when a batch is there: expressions resolved, results stored, coins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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

# The positional and the keyword arguments of a step for one batch.
Arguments = tuple[Sequence[Any], Mapping[str, Any]]


def make_step(
    bound: BoundStep,
    function: Callable[..., Any],
    args: Sequence[Any],
    model_for: Callable[[Batch], Any] | None,
) -> Callable[[Batch], Any]:
    """Make a function that takes a batch through a step.

    It returns what the action returns; the batch, if that is a value.

    Args:
        bound: The step.
        function: The function to call with the batch, the model if there is one, and the arguments.
        args: The step's positional arguments.
        model_for: Returns the model for a batch, or None.
    """
    kwargs = bound.kwargs
    give = function
    if model_for is not None or bound.has_expressions:
        give = _giving(function, arguments_of(bound, args), model_for)
    elif args or kwargs:
        give = lambda batch: function(batch, *args, **kwargs)  # noqa: E731
    if bound.expands is not None or bound.gives is not None:
        from batchflow.engine.preparation.expanding import keeping_promises  # on use

        give = keeping_promises(bound, give)
    return give if bound.returns_batch and bound.save_to is None else _storing(bound, give)


def _giving(
    function: Callable[..., Any],
    arguments: Callable[[Batch], Arguments],
    model_for: Callable[[Batch], Any] | None,
) -> Callable[[Batch], Any]:
    if model_for is None:

        def give(batch: Batch) -> Any:
            args, kwargs = arguments(batch)
            return function(batch, *args, **kwargs)
    else:

        def give(batch: Batch) -> Any:
            model = model_for(batch)  # first: an argument may be something of a model made now
            args, kwargs = arguments(batch)
            return function(batch, model, *args, **kwargs)

    return give


def _storing(bound: BoundStep, give: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
    """Make a function that stores what a step gives, and gives the batch."""
    save_to, name, returns_batch = bound.save_to, bound.step.name, bound.returns_batch

    def keep(batch: Batch) -> Any:
        result = give(batch)
        refuse_coroutine(result, name)
        if returns_batch and isinstance(result, Batch):
            raise ActionResultError(
                f"the action {name!r} returned a batch, and no value to store by "
                f"save_to={save_to!r}"
            )
        if save_to is not None:
            store(save_to, result, batch)
        return batch

    return keep


def arguments_of(bound: BoundStep, args: Sequence[Any]) -> Callable[[Batch], Arguments]:
    """Make a function that gives the arguments of a step for a batch, that of its model left out.

    The place that `update` stores to is left as it is.
    """
    kwargs = bound.kwargs
    late_args: list[Any] = [
        (place, value, _resolver(value))
        for place, value in enumerate(args)
        if _is_late(value) and not (bound.stores and place == 0)
    ]
    late_kwargs: list[Any] = [
        (k, value, _resolver(value)) for k, value in kwargs.items() if _is_late(value)
    ]
    if not late_args and not late_kwargs:
        return lambda _: (args, kwargs)

    def arguments(batch: Batch) -> Arguments:
        given: Any = list(args)
        named: Any = dict(kwargs)
        value: Any = None
        try:
            for holder, late in ((given, late_args), (named, late_kwargs)):
                for place, value, resolve in late:
                    holder[place] = part = resolve(batch)
                    if part.__class__ is CoroutineType:
                        _refuse(part, f"with {value!r}")
        except (SkipBatch, StopPipeline):
            raise
        except Exception as error:
            add_note_once(error, f"while {value!r} was resolved")
            raise
        return given, named

    return arguments


def _resolver(value: Any) -> Callable[[Batch], Any]:
    return value._resolve if isinstance(value, Expression) else partial(resolved, value)


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
    """Refuse the value of a step that is a coroutine."""
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
