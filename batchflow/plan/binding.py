"""The meaning of a step: the action that it calls, its arguments, where its value goes.

A step is data (steps.py). Here its name is looked up for a batch class and a dataset, and its call
is checked. The result is a bound step (bound.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from batchflow.batch import Batch
from batchflow.batch.actions import RESERVED, Action, ActionSpec, is_outdated
from batchflow.errors import (
    ArgumentTypeError,
    BatchflowError,
    UnknownAttributeError,
    add_note_once,
    did_you_mean,
)
from batchflow.old_words import old_word
from batchflow.plan.bound import Bound, BoundChance, BoundRegrouping, BoundStep
from batchflow.plan.builtin import Builtin
from batchflow.plan.expressions import Expression, expressions_in
from batchflow.plan.names import Names, without_batch
from batchflow.plan.older_calls import refuse_older_calls
from batchflow.plan.several import Concat, Join, Joined, Merge, check_classes, join
from batchflow.plan.steps import Chance, HookName, Step, Where

# Words of other frameworks, and what to write here.
_ELSEWHERE = {
    "batch": "The batch size is given to the run: run(64), gen_batch(64), feed(64, ...).",
    "fit": "To train: train_model(...) and run(...), or model.fit(pipeline.feed(...).to_keras()).",
    "prefetch": "It is an option of the run: run(64, prefetch=4).",
    "repeat": "Epochs are an option of the run: run(64, n_epochs=5).",
    "shuffle": "It is an option of the run: run(64, shuffle=True).",
}


def bind_steps(steps: Iterable[Step | Chance], names: Names, *, end: bool = True) -> list[Bound]:
    """Bind steps in a row; a `join` becomes arguments of the step behind it.

    With `end` nothing follows them, and a `join` at the end is refused.
    """
    result: list[Bound] = []
    joined: list[Joined] = []
    last: Step | Chance | None = None
    for step in steps:
        bind = _bind_chance if isinstance(step, Chance) else bind_step
        bound = bind(step, names, joined)  # type: ignore[arg-type]
        last, names = step, names.behind(step)
        if isinstance(bound, Join):
            joined.extend(Joined(pipeline) for pipeline in bound.others)
        else:
            result.append(bound)
            joined = []
    if joined and end and last is not None:
        raise ArgumentTypeError(
            f"{last}, chained at {last.where}, is followed by no action that gets the joined "
            "batches; chain one, or load(components=...)"
        )
    return result


def bind_step(step: Step, names: Names, joined: Sequence[Joined] = ()) -> Bound | Join:
    """Look up what the name of a step means, and check the call.

    Args:
        step: The step.
        names: The meaning of names.
        joined: The joined batches that come before the arguments, behind a `join`.

    Raises:
        UnknownAttributeError: The name means nothing.
        ArgumentTypeError: It cannot be called with these arguments.
        UnknownNameError: Its model is not defined.
    """
    found = names.find(step.name)
    if found is None:
        raise UnknownAttributeError(unknown_action(step.name, names, step.where))
    action, builtin = found
    args, kwargs, model = step.args, dict(step.kwargs), action.spec.model
    singleton, save_to = action.spec.singleton, None
    if not action.has_parameter("save_to"):
        save_to = kwargs.pop("save_to", None)
    if builtin is not None and builtin.model is not None:
        model, args = _model_and_rest(step)
        singleton = builtin.model != "used"
        action = Action(step.name, action.function, ActionSpec(model, singleton))
    group, several = _group_of(step, builtin, kwargs)
    if joined:
        args = _with_joined(step, args, joined, action, builtin)
    if builtin is not None and builtin.kind == "stream":
        return _bind_stream(step, action, save_to, names)
    action.check_call(args, kwargs, step.where)
    refuse_older_calls(step, action, builtin, save_to)
    stores = builtin is not None and builtin.stores
    places = _places(step, save_to, args[:1] if stores else ())
    return BoundStep(
        step=step,
        function=action.function,
        args=args,
        kwargs=kwargs,
        model=model,
        singleton=singleton,
        dynamic=_is_dynamic(model, step, names),
        returns_batch=builtin is None or builtin.kind == "batch",
        needs_batch=builtin is None or builtin.needs_batch,
        save_to=save_to,
        stores=stores,
        places=places,
        group=group,
        several=several,
        expands=_growth_of(action, builtin, args, kwargs),
        gives=action.spec.gives,
    )


def _bind_stream(step: Step, action: Action, save_to: Any, names: Names) -> BoundRegrouping | Join:
    if save_to is not None:
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}, gives no value that save_to could store"
        )
    late = next(expressions_in([*step.args, *step.kwargs.values()]), None)
    if late is not None:
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}: {late!r} is not known before a batch is there; "
            "give the value"
        )
    # The functions of these steps take no batch, and their arguments are checked now.
    Action(step.name, without_batch(action.function), action.spec).check_call(
        step.args, step.kwargs, step.where
    )
    try:
        what = action.function(*step.args, **step.kwargs)
        if isinstance(what, Concat):
            what.check_class(names.batch_class)
        if isinstance(what, (Concat, Merge)):
            check_classes(what, names.dataset)
    except BatchflowError as error:
        add_note_once(error, f"in {step}, chained at {step.where}")
        raise
    return what if isinstance(what, Join) else BoundRegrouping(step, what, names.batch_class)


def _bind_chance(chance: Chance, names: Names, joined: Sequence[Joined]) -> BoundChance:
    if joined:
        raise ArgumentTypeError(
            f"join: {chance}, chained at {chance.where}, cannot take the joined batches, as its "
            "steps may be left out; join inside of it"
        )
    steps = []
    for bound in bind_steps(chance.steps, names):
        if isinstance(bound, BoundRegrouping):
            raise ArgumentTypeError(
                f"{bound.step}, chained at {bound.step.where}, makes other batches out of a "
                f"stream of them, which cannot be left to the coin of one batch "
                f"(@ {chance.probability:g}, at {chance.where})"
            )
        given = next((leaf for leaf in bound.leaves if leaf.gives is not None), None)
        if given is not None:
            raise ArgumentTypeError(
                f"{given.step}, chained at {given.step.where}, gives batches of another class, so "
                "the coin of one batch would decide which actions follow "
                f"(@ {chance.probability:g}, at {chance.where})"
            )
        steps.append(bound)
    return BoundChance(chance, tuple(steps))


def bind_hook(step: Step, names: Names, moment: HookName) -> BoundStep:
    """Bind a step that is taken outside of the stream of batches: it may need none."""
    bound = bind_step(step, names)
    problem = ""
    if not isinstance(bound, BoundStep) or bound.needs_batch:
        problem = "needs a batch"
    elif bound.dynamic and moment != "after":
        problem = f"needs the model {bound.model!r}, which is made from the first batch"
    if problem:
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}, {problem}, and .{moment} has none: it takes steps "
            "such as call, update, print, load_model and save_model, and functions of namespaces"
        )
    return bound  # type: ignore[return-value]


def _model_and_rest(step: Step) -> tuple[str, tuple[Any, ...]]:
    if not step.args or not isinstance(step.args[0], str):
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}: the first argument is the name of a model"
        )
    return step.args[0], step.args[1:]


def _group_of(
    step: Step, builtin: Builtin | None, kwargs: dict[str, Any]
) -> tuple[int, Callable[..., list[Any] | None] | None]:
    """Take `steps_per_call` out of the arguments; return it, and what does so many batches."""
    if builtin is None or builtin.several is None:
        return 1, None
    size = kwargs.pop("steps_per_call", 1)
    is_whole = hasattr(size, "__index__") and not isinstance(size, (bool, Expression))
    if not is_whole or size < 1:
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}: steps_per_call is a whole number from 1 on, got "
            f"{size!r:.60}"
        )
    return int(size), builtin.several if size > 1 else None


def _with_joined(
    step: Step,
    args: tuple[Any, ...],
    joined: Sequence[Joined],
    action: Action,
    builtin: Builtin | None,
) -> tuple[Any, ...]:
    if action.function is join:
        return args  # the action behind both gets all
    place = 0 if builtin is None else builtin.joined_at
    if action.function is Batch.apply_parallel:
        place = None  # its function gets items, one by one
    if place is None:
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}, comes behind a join and cannot take the joined "
            "batches; chain an action that does, or load(components=...)"
        )
    if action.function is Batch.load:  # which takes several batches as one source
        return (tuple(joined) if len(joined) > 1 else joined[0], *args)
    return (*args[:place], *joined, *args[place:])


def _growth_of(
    action: Action, builtin: Builtin | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> int | Literal[True] | None:
    """Return how many items a step makes of each."""
    if builtin is None or builtin.expands is None:
        return action.spec.expands
    growth: int | Literal[True] | None = builtin.expands(*args, **kwargs)
    return growth


def _is_dynamic(model: str | None, step: Step, names: Names) -> bool:
    """Check whether the model of a step, if it has one, is made from the first batch."""
    needed_by = f"the step {step.name!r}, chained at {step.where},"
    return model is not None and names.model_mode(model, needed_by) == "dynamic"


def _places(step: Step, *places: Any) -> tuple[Any, ...]:
    """Return the places that a step stores to, checked."""
    given = (*places[:-1], *places[-1])
    _check_place(given, step)
    return tuple(place for place in given if place is not None)


def _check_place(place: Any, step: Step) -> None:
    if isinstance(place, (list, tuple, Mapping)):
        for part in place.values() if isinstance(place, Mapping) else place:
            _check_place(part, step)
    elif place is not None and not isinstance(place, Expression):
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}: {place!r:.60} is no place to store a value; "
            f"write V('name'), B.name or B.name[item]"
        )


def unknown_action(name: str, names: Names, where: Where, methods: Iterable[str] = RESERVED) -> str:
    """Return the message for a name that means nothing; it may be a misspelt one of `methods`."""
    batch_class = names.batch_class
    own = {name for name, action in batch_class._actions.items() if name not in Batch._actions}
    known = {*names.known(), *methods}
    if is_outdated(batch_class):
        hint = (
            f" The name {batch_class.__name__} means another class now, which was defined later: "
            "make the dataset and the pipeline again."
        )
    elif name not in known and (old := old_word(name, "chain")):
        hint = old
    elif name in _ELSEWHERE and name not in known:
        hint = f" {_ELSEWHERE[name]}"
    elif callable(getattr(batch_class, name, None)) and not hasattr(Batch, name):
        hint = f" The method {name!r} is there; mark it with @action to chain it."
    elif not own:
        hint = " It has none of its own: mark its methods with @action."
        hint += did_you_mean(name, known, only_near=True)
    else:
        near = did_you_mean(name, own, only_near=True) or did_you_mean(name, known, only_near=True)
        hint = near or did_you_mean(name, own)
    return f"{batch_class.__name__} has no action {name!r} (chained at {where}).{hint}"
