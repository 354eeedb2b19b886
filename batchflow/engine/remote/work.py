"""The work of a run in other processes: what is sent there, and what comes back.

    consumer                                       worker process
    ------------------------------------------     -----------------------------------
    RemoteWork (the prefixes of the run) -- once ---> readied: steps, joined pipelines
    ticket, or a regrouped batch      -- each ---> made, taken through the steps
    batch, with the pipeline again   <-- each ---  its attributes, without the pipeline

Guarantees:
    - A batch that comes back is what the same work would have made here: its class, all its
      attributes, its random generator in the same state.
    - Whatever cannot travel is refused before the first batch, or named.
    - In a worker no model is made and no variable is written. A variable has the value with which
      the run started.
"""

from __future__ import annotations

import contextvars
import copyreg
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.components import declare_added
from batchflow.batch.directory import in_parallel
from batchflow.batch.states import TIES
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.preparation.ready import ReadySteps, needs_loop
from batchflow.engine.remote.stubs import guard_ordered, refuse_model, stubs_for
from batchflow.engine.source import EpochEnd
from batchflow.engine.state import PipelineView
from batchflow.engine.stream import Halt
from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError
from batchflow.executors.exceptions import culprit
from batchflow.executors.loop import PrivateLoop
from batchflow.executors.serialization.pickling import (
    Classes,
    PackedCall,
    Stubs,
    dumps_call,
    dumps_whole,
    needs_cloudpickle,
    pack,
)
from batchflow.plan import BoundStep
from batchflow.plan.builtin import predict_model
from batchflow.plan.expressions import expressions_in
from batchflow.plan.leaves import ConfigValue

__all__ = [
    "RemoteWork",
    "SerializedBatch",
    "check_travel",
    "packed_work",
    "deserialize_batch",
    "run_travel_problem",
    "serialize_batch",
    "sources_of",
    "step_travel_problem",
    "unpacking_problem",
]


class _Reference(NamedTuple):
    """Stands in a serialized batch for an object that both processes have.

    Attributes:
        kind: `"batch"`: the batch itself; `"pipeline"`: the pipeline; `"source"`: a source.
        place: Which of the sources of the run.
    """

    kind: str
    place: int = 0


class SerializedBatch(NamedTuple):
    """A batch on its way.

    Attributes:
        kind: Its class.
        state: Its attributes; in the place of a batch among them there is a `SerializedBatch`.
        slots: Those that a class keeps in `__slots__`.
        tied: The names of attributes that hold a `_Reference` or a `SerializedBatch`.
    """

    kind: type[Batch]
    state: dict[str, Any]
    slots: dict[str, Any]
    tied: tuple[str, ...]

    def named_parts(self) -> tuple[str, list[tuple[str, Any]]]:
        """Return what it is called if it cannot be packed, and its parts, by what reaches them."""
        held = {**self.state, **self.slots}
        return "batch", [(f".{name}", part) for name, part in held.items()]


def sources_of(prefixes: Iterable[Prefix]) -> list[Any]:
    """Return the sources of the prefixes of a run, in their order: both processes have them."""
    return [prefix.source for prefix in _with_joined(prefixes)]


def serialize_batch(
    batch: Batch, sources: Sequence[Any], inside: Sequence[Batch] = ()
) -> SerializedBatch:
    """Make a batch ready to travel; `inside` are the batches that hold it."""
    state = {name: value for name, value in batch.__dict__.items() if name not in TIES}
    names: list[str] = copyreg._slotnames(type(batch))  # type: ignore[attr-defined]
    slots = {name: getattr(batch, name) for name in names if hasattr(batch, name)}
    if batch.dataset is not None:
        state["dataset"] = batch.dataset
    tied = []
    for held in (state, slots):
        for name, value in held.items():
            given = _with_references(value, sources, (batch, *inside))
            if given is not value:
                held[name] = given
                tied.append(name)
    return SerializedBatch(type(batch), state, slots, tuple(tied))


def _with_references(
    value: Any, sources: Sequence[Any], on: Sequence[Batch], *, is_part: bool = False
) -> Any:
    """Return the stand-in for an attribute, or for a part of one; mostly it is the attribute.

    `on` is the batch, what holds it, and so on.
    """
    if value is on[0]:
        return _Reference("batch")
    if isinstance(value, Batch):  # in a circle, it is packed as it is
        is_circle = any(value is other for other in on)
        return value if is_circle else serialize_batch(value, sources, on)
    if isinstance(value, PipelineView):
        return _Reference("pipeline")
    if value is not None:
        for place, source in enumerate(sources):
            if value is source:
                return _Reference("source", place)
    if not is_part and any(isinstance(part, Batch) for part in _parts(value)):
        return _over(value, partial(_with_references, sources=sources, on=on, is_part=True))
    return value


def _parts(value: Any) -> Iterable[Any]:
    """Return the parts of a list, tuple or dict; of anything else nothing."""
    if type(value) is dict:
        return value.values()
    return value if type(value) in (list, tuple) else ()


def _over(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a list, tuple or dict with changed parts."""
    if type(value) is dict:
        return {name: change(part) for name, part in value.items()}
    return type(value)(map(change, value))


def deserialize_batch(given: SerializedBatch, sources: Sequence[Any], prefix: Prefix) -> Batch:
    """Make the batch that has arrived; `prefix` is the one that it comes from, or goes to."""
    kind, state, slots, tied = given
    batch = kind.__new__(kind)
    for name in tied:
        held = state if name in state else slots
        held[name] = _dereferenced(held[name], batch, sources, prefix)
    batch.__dict__.update(state)
    if "components" in state:
        declare_added(kind, state["components"])
    for name, value in slots.items():
        setattr(batch, name, value)
    batch.__dict__["pipeline"] = prefix.view
    if prefix.loop is not None:
        batch.__dict__["_loop"] = prefix.loop
    return batch


def _dereferenced(value: Any, on: Batch, sources: Sequence[Any], prefix: Prefix) -> Any:
    """Return an attribute of a batch that has arrived, or a part of one, with its ties.

    A function of the module: one inside of `deserialize_batch` that calls itself would be a circle
    with the batch in it, which lives until the garbage collector runs.
    """
    if isinstance(value, _Reference):
        if value.kind == "source":
            return sources[value.place]
        return on if value.kind == "batch" else prefix.view
    if isinstance(value, SerializedBatch):
        return deserialize_batch(value, sources, prefix)
    if any(isinstance(part, SerializedBatch | _Reference) for part in _parts(value)):
        return _over(value, partial(_dereferenced, on=on, sources=sources, prefix=prefix))
    return value


class RemoteWork:
    """The parallel work of a run, for a worker process: called with an item, it does it.

    An item is the number of a prefix, the place of a segment, and a `SerializedBatch`, or number,
    epoch and positions of a ticket.

    Args:
        prefixes: The prefixes of the run.
    """

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        self._prefixes = list(prefixes)
        self._numpy_errors = np.geterr()
        self._sources: list[Any] | None = None

    def __call__(self, item: tuple[Any, ...]) -> SerializedBatch | EpochEnd | None:
        """Do one piece of work. Return a `SerializedBatch`, an `EpochEnd`, or None."""
        return contextvars.copy_context().run(self._work, *item)

    def _work(self, number: int, place: int, *given: Any) -> SerializedBatch | EpochEnd | None:
        in_parallel.set(True)
        np.seterr(**self._numpy_errors)
        if self._sources is None:
            self._prefixes = list(map(_readied, self._prefixes))
            self._sources = sources_of(self._prefixes)
        prefix = self._prefixes[number]
        item: Any = given
        if isinstance(given[0], SerializedBatch):
            item = deserialize_batch(given[0], self._sources, prefix)
        made = Segment(prefix, place).work(item, Halt())
        return serialize_batch(made, self._sources) if isinstance(made, Batch) else made


def _readied(prefix: Prefix) -> Prefix:
    """Return a prefix that has arrived, ready to work here."""
    guard_ordered(prefix.batch_class)
    bounds = [bound for row in prefix.segments for bound in row]
    steps = [bound for bound in bounds if hasattr(bound, "leaves")]
    leaves = [leaf for bound in steps for leaf in bound.leaves]
    joined = [(value, _readied(other)) for value, other in prefix.joined]
    joined_to = {id(value): other.joined_to for value, other in joined}
    loop = PrivateLoop() if any(map(needs_loop, leaves)) else None
    ready = ReadySteps(steps, refuse_model, joined_to, loop, prefix.notes.ahead)  # type: ignore[arg-type]
    segments = [ready.of(row) for row in prefix.segments]
    return prefix.readied(segments, prefix.view, loop, joined, marks_epochs=prefix.marks_epochs)


def packed_work(prefixes: Sequence[Prefix]) -> PackedCall:
    """Pack the work of a run. Variables and settings that no step reads stay if they must.

    Raises:
        ArgumentTypeError: Something in it cannot travel; the message says what, and where.
    """
    stubs = _stubs_of(prefixes)
    try:
        return pack(RemoteWork(prefixes), stubs)
    except ArgumentTypeError:
        _name_culprit(prefixes, stubs)
        return pack(RemoteWork([_without_what_stays(prefix) for prefix in prefixes]), stubs)


def _stubs_of(prefixes: Sequence[Prefix]) -> Stubs:
    return stubs_for([prefix.batch_class for prefix in _with_joined(prefixes)])


def _without_what_stays(prefix: Prefix) -> Prefix:
    """Return the prefix with those variables and settings that can travel."""
    view: Any = prefix.view
    variables = [name for name, value in view.values.items() if travel_problem(value, name)]
    settings = [name for name, value in view.config.items() if travel_problem(value, name)]
    joined = [(value, _without_what_stays(other)) for value, other in prefix.joined]
    return prefix.travelling(view.without(variables, settings), joined)


def _name_culprit(prefixes: Sequence[Prefix], stubs: Stubs) -> None:
    """Raise an error that names the step or the source which cannot travel, if one cannot."""
    for prefix in _with_joined(prefixes):
        if (problem := travel_problem(prefix.source, repr(prefix.source), stubs)) is not None:
            raise ArgumentTypeError(
                f"the dataset cannot travel to worker processes: {problem}. Give it what can be "
                "sent, such as a path that is opened where it is read, or run in threads"
            )
        for leaf in _leaves_of([prefix]):
            step = f"{leaf.step}, chained at {leaf.step.where},"
            if (problem := _step_problem(leaf, prefix.view, stubs)) is not None:
                raise ArgumentTypeError(
                    f"{step} cannot travel to worker processes: {problem}. Pass something else, "
                    "make it inside of the action, or run in threads"
                )


def _read_by(leaf: BoundStep, view: PipelineView | None) -> Iterator[tuple[str, Any]]:
    """Go through the variables and the entries of the config that the arguments of a step read."""
    if view is None:
        return
    for name in sorted(leaf.reads & set(view.values)):
        yield f"the variable {name!r}", view.values[name]
    for part in expressions_in([*leaf.args, *leaf.kwargs.values()]):
        if isinstance(part, ConfigValue):
            name = part._name.partition("/")[0]
            if name in view.config:
                yield f"the entry {name!r} of the config", view.config[name]


def step_travel_problem(leaf: BoundStep, prefix: Prefix) -> str | None:
    """Return why a step of a prefix cannot travel to a worker process; None if it can."""
    return _step_problem(leaf, prefix.view, _stubs_of([prefix]))


def _step_problem(leaf: BoundStep, view: PipelineView | None, stubs: Stubs) -> str | None:
    parts = {
        f"the action {leaf.step.name}": leaf.function,
        **{f"its argument {place}": value for place, value in enumerate(leaf.args, start=1)},
        **{f"its argument {name}": value for name, value in leaf.kwargs.items()},
        **dict(_read_by(leaf, view)),
    }
    problems = (travel_problem(value, name, stubs) for name, value in parts.items())
    return next((problem for problem in problems if problem is not None), None)


def run_travel_problem(prefixes: Sequence[Prefix]) -> str | None:
    """Return why the work of a run cannot travel to worker processes; None if it can."""
    try:
        check_travel(prefixes, "'processes'")
        packed_work(prefixes)
    except BatchflowError as error:
        return str(error)
    return None


def unpacking_problem(prefixes: Sequence[Prefix]) -> str | None:
    """Return which step can be packed and not be unpacked; None if it is none of them."""
    for leaf in _leaves_of(_with_joined(prefixes)):
        try:
            pickle.loads(dumps_whole((leaf.function, leaf.args, dict(leaf.kwargs)), Classes()))
        except Exception:  # noqa: BLE001  the worker has told what it is
            return f"in {leaf.step}, chained at {leaf.step.where}"
    return None


def travel_problem(value: Any, name: str, stubs: Stubs | None = None) -> str | None:
    """Return why a value, which is called `name`, cannot travel to a worker; None if it can."""
    needs_cloudpickle()
    dumps = partial(dumps_call, stubs=stubs)
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001  whatever is wrong with it
        return culprit(value, dumps, name, error)
    return None


def check_travel(prefixes: Sequence[Prefix], executor: str) -> None:
    """Refuse steps that other processes cannot do; `executor` is where they are to work.

    Raises:
        ArgumentValueError: A parallel step works on a model.
    """
    for leaf in _leaves_of(_with_joined(prefixes)):
        if leaf.model is not None:
            mark = f'@action(model="{leaf.model}", singleton=True)'
            advice = f"Let it stay in the ordered section, {mark}, or run in threads"
            if leaf.function is predict_model:
                advice = f"Run in threads, or let an ordered action predict: {mark}"
            raise ArgumentValueError(
                f"{leaf.step}, chained at {leaf.step.where}, works on the model {leaf.model!r}, "
                f"which cannot travel to other processes (executor={executor}). {advice}"
            )


def _with_joined(prefixes: Iterable[Prefix]) -> Iterator[Prefix]:
    for prefix in prefixes:
        yield prefix
        yield from _with_joined(other for _, other in prefix.joined)


def _leaves_of(prefixes: Iterable[Prefix]) -> Iterator[BoundStep]:
    rows = (row for prefix in prefixes for row in prefix.segments)
    return (leaf for row in rows for bound in row for leaf in bound.leaves)
