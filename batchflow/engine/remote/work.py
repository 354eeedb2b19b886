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
import os
import pickle
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.components import declare_added
from batchflow.batch.directory import in_parallel
from batchflow.batch.states import TIES
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.preparation.ready import ReadySteps, needs_loop
from batchflow.engine.remote.stubs import guard_ordered, refuse_model, stubs_for
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
from batchflow.plan.expressions import expressions_in
from batchflow.plan.leaves import ConfigValue
from batchflow.plan.model_steps import predict_model


class RemoteWork:
    """The parallel work of a run, for a worker process: called with an item, it does it.

    An item is the number of a prefix, the place of a segment, and a batch, or number, epoch and
    positions of a ticket.

    Args:
        prefixes: The prefixes of the run.
        name: No other work has it; None: a new one.
        numpy_errors: How NumPy treats errors; None: as it does now.
    """

    def __init__(
        self, prefixes: Sequence[Prefix], name: str | None = None, numpy_errors: Any = None
    ) -> None:
        self.name = name or os.urandom(8).hex()
        self._prefixes = list(prefixes)
        self._numpy_errors = numpy_errors or np.geterr()
        self._is_ready = False
        # What both processes have: in items and results its place here stands for it.
        self.shared = [x for p in _with_joined(prefixes) for x in (p.source, p.view)]
        self._places = {id(x): i for i, x in enumerate(self.shared) if x is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self._prefixes, self.name, self._numpy_errors)

    def reduced(self, value: Any) -> tuple[Any, ...] | None:
        """Return how the pickler of items and results reduces a value; None: as always."""
        if (place := self._places.get(id(value))) is not None:
            return _shared_object, (self.name, place)
        return self._reduced_batch(value) if isinstance(value, Batch) else None

    def _reduced_batch(self, batch: Batch) -> tuple[Any, ...]:
        """Reduce a batch to its class and all its attributes, whatever pickles of it leave out."""
        state = {name: value for name, value in batch.__dict__.items() if name not in TIES}
        if batch.dataset is not None:
            state["dataset"] = batch.dataset
        if id(batch.pipeline) in self._places:
            state["pipeline"] = batch.pipeline
        names: list[str] = copyreg._slotnames(type(batch))  # type: ignore[attr-defined]
        slots = {name: getattr(batch, name) for name in names if hasattr(batch, name)}
        make = copyreg.__newobj__  # type: ignore[attr-defined]
        return make, (type(batch),), (state, slots), None, None, _set_attributes

    def __call__(self, item: tuple[Any, ...]) -> Any:
        """Do one piece of work. Return a batch, an `EpochEnd`, or None."""
        return contextvars.copy_context().run(self._work, *item)

    def _work(self, number: int, place: int, *given: Any) -> Any:
        in_parallel.set(True)
        np.seterr(**self._numpy_errors)
        if not self._is_ready:
            self._prefixes = list(map(_readied, self._prefixes))
            self._is_ready = True
        prefix = self._prefixes[number]
        item: Any = with_loop(given[0], prefix) if isinstance(given[0], Batch) else given
        made = Segment(prefix, place).work(item, Halt())
        return made if prefix.recorder is None else prefix.recorder.sent(made)


class _Arrived(threading.local):
    """The works that have come to this thread: in somebody else's pool each has its own."""

    def __init__(self) -> None:
        self.works: weakref.WeakValueDictionary[str, RemoteWork] = weakref.WeakValueDictionary()


_sent: weakref.WeakValueDictionary[str, RemoteWork] = weakref.WeakValueDictionary()
_arrived = _Arrived()


def _arrive(*args: Any) -> RemoteWork:
    work = RemoteWork(*args)
    _arrived.works[work.name] = work
    return work


def _shared_object(name: str, place: int) -> Any:
    return (_arrived.works.get(name) or _sent[name]).shared[place]


def _set_attributes(batch: Batch, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    held, slots = state
    batch.__dict__.update(held)
    if "components" in held:
        declare_added(type(batch), held["components"])
    for name, value in slots.items():
        setattr(batch, name, value)


def with_loop(batch: Batch, prefix: Prefix) -> Batch:
    """Give a batch that has arrived the event loop of the prefix that it comes from, or goes to."""
    if prefix.loop is not None:
        batch._loop = prefix.loop
    return batch


def _readied(prefix: Prefix) -> Prefix:
    """Return a prefix that has arrived, ready to work here."""
    for batch_class in prefix.batch_classes:
        guard_ordered(batch_class)
    bounds = [bound for row in prefix.segments for bound in row]
    steps = [bound for bound in bounds if hasattr(bound, "leaves")]
    leaves = [leaf for bound in steps for leaf in bound.leaves]
    joined = [(value, _readied(other)) for value, other in prefix.joined]
    joined_to = {id(value): other.joined_to for value, other in joined}
    loop = PrivateLoop() if any(map(needs_loop, leaves)) else None
    timed = prefix.recorder and prefix.recorder.steps_of(prefix.rng_key[0])
    ready = ReadySteps(steps, refuse_model, joined_to, loop, prefix.notes.ahead, timed)  # type: ignore[arg-type]
    segments = [ready.of(row) for row in prefix.segments]
    return prefix.readied(segments, prefix.view, loop, joined, marks_epochs=prefix.marks_epochs)


def packed_work(prefixes: Sequence[Prefix]) -> PackedCall:
    """Pack the work of a run. Variables and settings that no step reads stay if they must.

    Raises:
        ArgumentTypeError: Something in it cannot travel; the message says what, and where.
    """
    stubs = _stubs_of(prefixes)
    work = RemoteWork(prefixes)
    _sent[work.name] = work
    try:
        return pack(work, stubs)
    except ArgumentTypeError:
        _name_culprit(prefixes, stubs)
        lighter = RemoteWork([_without_what_stays(prefix) for prefix in prefixes], work.name)
        packed = pack(lighter, stubs)
        # Here batches have the prefixes as they are.
        packed.function, packed.classes.reduced = work, work.reduced
        return packed


def _stubs_of(prefixes: Sequence[Prefix]) -> Stubs:
    return stubs_for(cls for prefix in _with_joined(prefixes) for cls in prefix.batch_classes)


def _without_what_stays(prefix: Prefix) -> Prefix:
    """Return the prefix with those variables and settings that can travel."""
    view: Any = prefix.view
    variables = [name for name, value in view.values.items() if travel_problem(value, name)]
    settings = [name for name, value in view.config.items() if travel_problem(value, name)]
    joined = [(value, _without_what_stays(other)) for value, other in prefix.joined]
    return prefix._replace(view=view.without(variables, settings), joined=joined)


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
    """Refuse steps that other processes cannot do; `executor` is where they are to work."""
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
