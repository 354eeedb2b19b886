"""One step of a chain: as it was written, and as a batch class understands it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from batchflow.batch import Batch
from batchflow.batch.actions import RESERVED, Action, ActionSpec, is_outdated
from batchflow.errors import (
    ArgumentTypeError,
    BatchflowError,
    UnknownAttributeError,
    add_note_once,
    did_you_mean,
)
from batchflow.plan.bound import Bound, BoundChance, BoundRegrouping, BoundStep
from batchflow.plan.builtin import Builtin
from batchflow.plan.checks import refuse_bare_function, refuse_mode_beside
from batchflow.plan.expressions import Expression, expressions_in, shown
from batchflow.plan.names import Names
from batchflow.plan.several import Concat, Join, Joined, join
from batchflow.plan.values import same_value

__all__ = ["Chance", "Step", "Where", "bind_steps", "unknown_action"]


# What others chain, and where it is here.
_ELSEWHERE = {
    "batch": "The batch size is given to the run: run(64), gen_batch(64), feed(64, ...).",
    "fit": "To train: train_model(...) and run(...), or model.fit(pipeline.feed(...).to_keras()).",
    "prefetch": "It is an option of the run: run(64, prefetch=4).",
    "repeat": "Epochs are an option of the run: run(64, n_epochs=5).",
    "shuffle": "It is an option of the run: run(64, shuffle=True).",
}


class Where(NamedTuple):
    """The place in a user's code where a step was chained.

    Attributes:
        file: The file; or the cell of a notebook, as IPython names it: `In[3]`.
        line: The line in it.
        is_cell: Which of the two.
    """

    file: str
    line: int
    is_cell: bool = False

    @classmethod
    def of_caller(cls, depth: int) -> Where:
        """Return the place of the caller `depth` frames above the function that calls this."""
        frame = sys._getframe(depth + 1)
        file, line = frame.f_code.co_filename, frame.f_lineno
        cell = _cell_of(file)
        return cls(file, line) if cell is None else cls(cell, line, is_cell=True)

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.is_cell else f"{self.file}:{self.line}"


def _cell_of(file: str) -> str | None:
    """Return how IPython names the cell whose code has this file name; None if it is no cell."""
    ipython = sys.modules.get("IPython")
    try:
        kind, name = ipython.get_ipython().compile.format_code_name(file)  # type: ignore[union-attr]
    except (AttributeError, TypeError):  # no IPython, none that runs, or no cell of it
        return None
    return str(name) if kind == "Cell" else None


@dataclass(frozen=True, eq=False)
class Step:
    """A call of an action, as it was chained: a value.

    Attributes:
        name: The action.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        where: Where it was chained; not compared.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    where: Where = field(default=Where("<unknown>", 0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self.name == other.name and same_value(
            (self.args, dict(self.kwargs)), (other.args, dict(other.kwargs))
        )

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        arguments = [shown(value) for value in self.args]
        arguments += [f"{key}={shown(value)}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(arguments)})"

    def bind(self, names: Names, joined: Sequence[Joined] = ()) -> Bound | Join:
        """Find out what the name means, and check the call.

        Args:
            names: What names mean.
            joined: What stands before the arguments of an action behind a `join`.

        Raises:
            UnknownAttributeError: It means nothing.
            ArgumentTypeError: It cannot be called with these arguments.
            UnknownNameError: Its model is not defined.
        """
        found = names.find(self.name)
        if found is None:
            raise UnknownAttributeError(unknown_action(self.name, names, self.where))
        action, builtin = found
        args, kwargs, model = self.args, dict(self.kwargs), action.spec.model
        singleton, save_to = action.spec.singleton, None
        if not action.has_parameter("save_to"):
            save_to = kwargs.pop("save_to", None)
            if save_to is not None and not action.has_parameter("mode"):
                refuse_mode_beside(save_to, self)
        if builtin is not None and builtin.model is not None:
            model, args = _model_and_rest(self)
            singleton = builtin.model == "trained"
            action = Action(self.name, action.function, ActionSpec(model, singleton))
        group, several = _group_of(self, builtin, kwargs)
        if joined:
            args = _with_joined(self, args, joined, action, builtin)
        if builtin is not None and builtin.kind == "stream":
            return self._bind_stream(action, save_to, names)
        action.check_call(args, kwargs, self.where)
        if builtin is not None and (builtin.stores or builtin.model):
            refuse_bare_function(self)
        stores = builtin is not None and builtin.stores
        places = (save_to, *args[:1]) if stores else (save_to,)
        for place in places:
            _check_place(place, self)
        needed_by = f"the step {self.name!r}, chained at {self.where},"
        return BoundStep(
            step=self,
            function=action.function,
            args=args,
            kwargs=kwargs,
            model=model,
            singleton=singleton,
            dynamic=model is not None and names.model_mode(model, needed_by) == "dynamic",
            returns_batch=builtin is None or builtin.kind == "batch",
            needs_batch=builtin is None or builtin.needs_batch,
            save_to=save_to,
            stores=stores,
            places=tuple(place for place in places if place is not None),
            group=group,
            several=several,
        )

    def _bind_stream(self, action: Action, save_to: Any, names: Names) -> BoundRegrouping | Join:
        if save_to is not None:
            raise ArgumentTypeError(
                f"{self}, chained at {self.where}, gives no value that save_to could store"
            )
        late = next(expressions_in([*self.args, *self.kwargs.values()]), None)
        if late is not None:
            raise ArgumentTypeError(
                f"{self}, chained at {self.where}: {late!r} is not known before a batch is there; "
                "give the value"
            )
        # The functions of these steps take no batch; what they are told is checked now.
        Action(self.name, _with_batch(action.function), action.spec).check_call(
            self.args, self.kwargs, self.where
        )
        try:
            what = action.function(*self.args, **self.kwargs)
            if isinstance(what, Concat):
                what.check_class(names.batch_class)
        except BatchflowError as error:
            add_note_once(error, f"in {self}, chained at {self.where}")
            raise
        return what if isinstance(what, Join) else BoundRegrouping(self, what)


@dataclass(frozen=True)
class Chance:
    """Steps that a batch goes through with a probability: `pipeline @ 0.5`.

    Attributes:
        steps: The steps.
        probability: From 0 to 1. The coin is thrown once per batch, by the batch's generator.
        where: Where it was chained; not compared.
    """

    steps: tuple[Step | Chance, ...]
    probability: float
    where: Where = field(default=Where("<unknown>", 0), compare=False)

    def __str__(self) -> str:
        return f"({'; '.join(map(str, self.steps))}) @ {self.probability:g}"

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"@ {self.probability:g}"

    def bind(self, names: Names, joined: Sequence[Joined] = ()) -> BoundChance:
        """Bind its steps."""
        if joined:
            raise ArgumentTypeError(
                f"join: {self}, chained at {self.where}, cannot take the joined batches, as its "
                "steps may be left out; join inside of it"
            )
        steps = []
        for bound in bind_steps(self.steps, names):
            if isinstance(bound, BoundRegrouping):
                raise ArgumentTypeError(
                    f"{bound.step}, chained at {bound.step.where}, makes other batches out of a "
                    f"stream of them, which cannot be left to the coin of one batch "
                    f"(@ {self.probability:g}, at {self.where})"
                )
            steps.append(bound)
        return BoundChance(self, tuple(steps))


def bind_steps(steps: Iterable[Step | Chance], names: Names, *, end: bool = True) -> list[Bound]:
    """Bind steps in a row; a `join` becomes arguments of the step behind it.

    Args:
        steps: The steps.
        names: What names mean.
        end: Whether nothing follows them.
    """
    result: list[Bound] = []
    joined: list[Joined] = []
    last: Step | Chance | None = None
    for step in steps:
        bound = step.bind(names, joined)
        last = step
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


def _model_and_rest(step: Step) -> tuple[str, tuple[Any, ...]]:
    if not step.args or not isinstance(step.args[0], str):
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}: the first argument is the name of a model"
        )
    return step.args[0], step.args[1:]


def _group_of(
    step: Step, builtin: Builtin | None, kwargs: dict[str, Any]
) -> tuple[int, Callable[..., list[Any] | None] | None]:
    """Take out of the arguments how many batches a step does in one call, and give what does it."""
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


def _with_batch(function: Callable[..., Any]) -> Callable[..., Any]:
    def with_batch(batch: Any, *args: Any, **kwargs: Any) -> None: ...

    signature = inspect.signature(function)
    first = inspect.Parameter("batch", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [first, *signature.parameters.values()]
    with_batch.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_batch


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
    """Make the message for a name that means nothing.

    Args:
        name: The name.
        names: What names mean.
        where: Where it was written.
        methods: What else of a pipeline it may be a misspelling of.
    """
    batch_class = names.batch_class
    own = {name for name, action in batch_class._actions.items() if name not in Batch._actions}
    known = {*names.known(), *methods}
    if is_outdated(batch_class):
        hint = (
            f" The name {batch_class.__name__} means another class now, which was defined later: "
            "make the dataset and the pipeline again."
        )
    elif name in _ELSEWHERE and name not in known:
        hint = f" {_ELSEWHERE[name]}"
    elif callable(getattr(batch_class, name, None)):
        hint = f" The method {name!r} is there; mark it with @action to chain it."
    elif not own:
        hint = " It has none of its own: mark its methods with @action."
        hint += did_you_mean(name, known, only_near=True)
    else:
        hint = did_you_mean(name, known, only_near=True) or did_you_mean(name, own)
    return f"{batch_class.__name__} has no action {name!r} (chained at {where}).{hint}"
