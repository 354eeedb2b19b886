"""Work in other processes: what travels there, and what comes back.

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
from typing import Any, NamedTuple, NoReturn

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.directory import in_parallel
from batchflow.batch.states import TIES
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.preparation.ready import ReadySteps, needs_loop
from batchflow.engine.remote.members import late_members
from batchflow.engine.source import EpochEnd
from batchflow.engine.state import PipelineView
from batchflow.engine.stream import Halt
from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError
from batchflow.executors.exceptions import culprit
from batchflow.executors.loop import PrivateLoop
from batchflow.executors.serialization.pickling import (
    Classes,
    Late,
    PackedCall,
    dumps_late,
    dumps_whole,
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
    "late_of",
    "packed_work",
    "deserialize_batch",
    "run_travel_problem",
    "serialize_batch",
    "step_travel_problem",
    "unpacking_problem",
]


class _Reference(NamedTuple):
    """Stands in the attributes of a batch for something that both processes have.

    Attributes:
        kind: `"batch"`: the batch itself; `"pipeline"`: the pipeline; `"source"`: what a prefix
            reads from.
        place: Of which prefix.
    """

    kind: str
    place: int = 0


class SerializedBatch(NamedTuple):
    """A batch on its way.

    Attributes:
        kind: Its class.
        state: Its attributes; in the place of a batch among them there is a `SerializedBatch` one.
        slots: Those that a class keeps in `__slots__`.
    """

    kind: type[Batch]
    state: dict[str, Any]
    slots: dict[str, Any]


def serialize_batch(
    batch: Batch, prefixes: Sequence[Prefix], inside: Sequence[Batch] = ()
) -> SerializedBatch:
    """Make a batch ready to travel.

    Args:
        batch: The batch.
        prefixes: The prefixes of the run.
        inside: The batches that hold it.
    """
    state = {name: value for name, value in batch.__dict__.items() if name not in TIES}
    names: list[str] = copyreg._slotnames(type(batch))  # type: ignore[attr-defined]
    slots = {name: getattr(batch, name) for name in names if hasattr(batch, name)}
    if batch.dataset is not None:
        state["dataset"] = batch.dataset
    for held in (state, slots):
        for name, value in held.items():
            if any(isinstance(part, Batch) for part in _parts(value)):
                held[name] = _over(
                    value, partial(_with_references, prefixes=prefixes, on=(batch, *inside))
                )
            else:
                held[name] = _with_references(value, prefixes, (batch, *inside))
    return SerializedBatch(type(batch), state, slots)


def _with_references(value: Any, prefixes: Sequence[Prefix], on: Sequence[Batch]) -> Any:
    """Give what stands for an attribute, or for a part of one.

    Args:
        value: The attribute.
        prefixes: The prefixes of the run.
        on: The batch, what holds it, and so on.
    """
    if value is on[0]:
        return _Reference("batch")
    if isinstance(value, Batch):  # in a circle, it is packed as it is
        return (
            value if any(value is other for other in on) else serialize_batch(value, prefixes, on)
        )
    if isinstance(value, PipelineView):
        return _Reference("pipeline")
    for place, prefix in enumerate(_with_joined(prefixes)):
        if value is prefix.source and value is not None:
            return _Reference("source", place)
    return value


def _parts(value: Any) -> Iterable[Any]:
    """Give what lies in a list, tuple or dict; of anything else nothing."""
    if type(value) is dict:
        return value.values()
    return value if type(value) in (list, tuple) else ()


def _over(value: Any, change: Callable[[Any], Any]) -> Any:
    """Give a list, tuple or dict with changed parts."""
    if type(value) is dict:
        return {name: change(part) for name, part in value.items()}
    return type(value)(map(change, value))


def deserialize_batch(given: SerializedBatch, prefixes: Sequence[Prefix], prefix: Prefix) -> Batch:
    """Make the batch that has arrived.

    Args:
        given: What was sent.
        prefixes: The prefixes of the run.
        prefix: The one that the batch comes from, or goes to.
    """
    batch = given.kind.__new__(given.kind)
    tied = partial(_dereferenced, on=batch, prefixes=prefixes, prefix=prefix)
    batch.__dict__.update({name: tied(value) for name, value in given.state.items()})
    for name, value in given.slots.items():
        setattr(batch, name, tied(value))
    batch.__dict__["pipeline"] = prefix.view
    if prefix.loop is not None:
        batch.__dict__["_loop"] = prefix.loop
    return batch


def _dereferenced(value: Any, on: Batch, prefixes: Sequence[Prefix], prefix: Prefix) -> Any:
    """Return an attribute of a batch that has arrived, or a part of one, with its ties.

    A function of the module: one inside `received` that calls itself would be a circle with the
    batch in it, which lives until the garbage collector runs.

    Args:
        value: What was sent.
        on: The batch.
        prefixes: The prefixes of the run.
        prefix: That of the batch.
    """
    if isinstance(value, SerializedBatch):
        return deserialize_batch(value, prefixes, prefix)
    if any(isinstance(part, SerializedBatch | _Reference) for part in _parts(value)):
        return _over(value, partial(_dereferenced, on=on, prefixes=prefixes, prefix=prefix))
    if not isinstance(value, _Reference):
        return value
    if value.kind == "source":
        return list(_with_joined(prefixes))[value.place].source
    return on if value.kind == "batch" else prefix.view


class RemoteWork:
    """The parallel work of a run, for a worker process: called with an item, it does it.

    An item is the number of a prefix, the place of a segment, and a ticket or a `SerializedBatch`.
    What is given back is a `SerializedBatch`, an `EpochEnd`, or None.

    Args:
        prefixes: The prefixes of the run.
    """

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        self._prefixes = list(prefixes)
        self._numpy_errors = np.geterr()
        self._is_ready = False

    def __call__(self, item: tuple[int, int, Any]) -> SerializedBatch | EpochEnd | None:
        """Do one piece of work."""
        return contextvars.copy_context().run(self._work, *item)

    def _work(self, number: int, place: int, given: Any) -> SerializedBatch | EpochEnd | None:
        in_parallel.set(True)
        np.seterr(**self._numpy_errors)
        if not self._is_ready:
            self._prefixes = list(map(_readied, self._prefixes))
            self._is_ready = True
        prefix = self._prefixes[number]
        if isinstance(given, SerializedBatch):
            given = deserialize_batch(given, self._prefixes, prefix)
        made = Segment(prefix, place).work(given, Halt())
        return serialize_batch(made, self._prefixes) if isinstance(made, Batch) else made


def _readied(prefix: Prefix) -> Prefix:
    """Return a prefix that has arrived, ready to work here."""
    bounds = [bound for row in prefix.segments for bound in row]
    steps = [bound for bound in bounds if hasattr(bound, "leaves")]
    leaves = [leaf for bound in steps for leaf in bound.leaves]
    joined = [(value, _readied(other)) for value, other in prefix.joined]
    joined_to = {id(value): other.joined_to for value, other in joined}
    loop = PrivateLoop() if any(map(needs_loop, leaves)) else None
    ready = ReadySteps(steps, _refuse_model, joined_to, loop, prefix.notes.ahead)  # type: ignore[arg-type]
    segments = [ready.of(row) for row in prefix.segments]
    return prefix.readied(segments, prefix.view, loop, joined, marks_epochs=prefix.marks_epochs)


def _refuse_model(name: str, batch: Any = None) -> NoReturn:  # noqa: ARG001  as a model is asked for
    raise ArgumentTypeError(f"the model {name!r} is not here: it stays with its process")


def packed_work(prefixes: Sequence[Prefix]) -> PackedCall:
    """Pack the work of a run. Variables and settings that no step reads stay if they must.

    Raises:
        ArgumentTypeError: Something in it cannot travel; the message says what, and where.
    """
    late = late_of(prefixes)
    late.spares = False  # to find out costs time, so it is done if need be
    try:
        return pack(RemoteWork(prefixes), late)
    except ArgumentTypeError:
        late.spares = True
        _name_culprit(prefixes, late)
        return pack(RemoteWork([_without_what_stays(prefix) for prefix in prefixes]), late)


def late_of(prefixes: Sequence[Prefix]) -> Late:
    """Tell which members of classes the parallel steps do not need in workers."""
    every = list(_with_joined(prefixes))
    steps = (leaf for prefix in every for leaf in _leaves_of(prefix))
    late = late_members(steps, [prefix.batch_class for prefix in every])
    late.spares = True
    return late


def _without_what_stays(prefix: Prefix) -> Prefix:
    """Give the prefix with those variables that can travel."""
    view: Any = prefix.view
    variables = [name for name, value in view.values.items() if travel_problem(value, name)]
    settings = [name for name, value in view.config.items() if travel_problem(value, name)]
    joined = [(value, _without_what_stays(other)) for value, other in prefix.joined]
    return prefix.travelling(view.without(variables, settings), joined)


def _name_culprit(prefixes: Sequence[Prefix], late: Late) -> None:
    """Say which step cannot travel, or which source."""
    for prefix in _with_joined(prefixes):
        if (problem := travel_problem(prefix.source, repr(prefix.source), late)) is not None:
            raise ArgumentTypeError(f"the dataset cannot travel to worker processes: {problem}")
        for leaf in _leaves_of(prefix):
            step = f"{leaf.step}, chained at {leaf.step.where},"
            if (problem := step_travel_problem(leaf, prefix.view, late)) is not None:
                raise ArgumentTypeError(f"{step} cannot travel to worker processes: {problem}")


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


def step_travel_problem(
    leaf: BoundStep, view: PipelineView | None, late: Late | None = None
) -> str | None:
    """Tell why a step cannot travel to a worker process; None if it can.

    Args:
        leaf: The step.
        view: The variables and the config that it reads.
        late: Which members of classes travel closed; None: what this step does not need.
    """
    parts = {
        f"the action {leaf.step.name}": leaf.function,
        **{f"its argument {place}": value for place, value in enumerate(leaf.args, start=1)},
        **{f"its argument {name}": value for name, value in leaf.kwargs.items()},
        **dict(_read_by(leaf, view)),
    }
    late = late or late_members([leaf], [])
    problems = (travel_problem(value, name, late) for name, value in parts.items())
    return next((problem for problem in problems if problem is not None), None)


def run_travel_problem(prefixes: Sequence[Prefix]) -> str | None:
    """Tell why the work of a run cannot travel to worker processes; None if it can."""
    try:
        check_travel(prefixes, "'processes'")
        packed_work(prefixes)
    except BatchflowError as error:
        return str(error)
    return None


def unpacking_problem(prefixes: Sequence[Prefix]) -> str | None:
    """Tell which step can be packed and not be unpacked; None if it is none of them."""
    for leaf in (leaf for prefix in _with_joined(prefixes) for leaf in _leaves_of(prefix)):
        try:
            pickle.loads(dumps_whole((leaf.function, leaf.args, dict(leaf.kwargs)), Classes()))
        except Exception:  # noqa: BLE001  the worker has told what it is
            return f"in {leaf.step}, chained at {leaf.step.where}"
    return None


def travel_problem(value: Any, name: str, late: Late | None = None) -> str | None:
    """Tell why a value cannot travel to a worker process; None if it can.

    Args:
        value: The value.
        name: How to call it.
        late: Which members of classes travel closed.

    Raises:
        BatchflowError: The extra `processes` is not installed.
    """
    try:
        pack(partial(_give, value), late)
    except ArgumentTypeError as error:
        cause = error.__cause__
        dumps = partial(dumps_late, late=late)
        return culprit(value, dumps, name, cause if isinstance(cause, Exception) else error)
    return None


def _give(value: Any, item: Any) -> Any:  # noqa: ARG001  it carries the value
    return value


def check_travel(prefixes: Sequence[Prefix], executor: str) -> None:
    """Refuse steps that other processes cannot do.

    Args:
        prefixes: The prefixes of the run.
        executor: Where it is to work.

    Raises:
        ArgumentValueError: A parallel step works on a model.
    """
    for leaf in (leaf for prefix in _with_joined(prefixes) for leaf in _leaves_of(prefix)):
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


def _leaves_of(prefix: Prefix) -> Iterator[BoundStep]:
    return (leaf for row in prefix.segments for bound in row for leaf in bound.leaves)
