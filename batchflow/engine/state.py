"""The state of a pipeline value while the program lives: variables, models, its open run."""

from __future__ import annotations

import copy
import itertools
import threading
import types
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic, Protocol

import numpy as np

from batchflow.batch.directory import ModelSlot
from batchflow.batch.states import Absent
from batchflow.batch.typevars import BatchT_co
from batchflow.engine.options import RunOptions
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.plan import Variable


class Reader(Protocol[BatchT_co]):
    """An open run, as far as it is of interest here."""

    def __next__(self) -> BatchT_co: ...

    def close(self) -> None:
        """Close the run."""


_serial_numbers = itertools.count()

_RESETS = {
    "iter": ("iter",),
    "variables": ("variables",),
    "vars": ("variables",),
    "models": ("models",),
    "all": ("iter", "variables", "models"),
}


class PipelineState(Generic[BatchT_co]):
    """The changing things of one pipeline value. Never shared with values chained from it.

    Attributes:
        section: The lock that an ordered section holds while it works on a batch.
        serial_number: Where several are held, they are taken in the order of these numbers.
        seed: The seed of the latest run, or None.
        is_set_up: Whether the steps that are taken once have been taken.
        setting_up: Held while they are taken.
        reader: The open run of `next_batch` and its options, or None.
        profiler: What has watched the latest run with `profile=True`, or None.
        trained: The runs that have trained models; None: a warning of them has been given. See
            `retraining.py`.
    """

    def __init__(self, declared: Iterable[Variable]) -> None:
        self._declared = {variable.name: variable for variable in declared}
        self._values: dict[str, Any] = {}
        self._models: dict[str, ModelSlot] = {}
        self.section = threading.RLock()
        self.serial_number = next(_serial_numbers)
        self._guard = threading.RLock()  # for the moments in which something is made
        self.seed: int | None = None
        self.is_set_up = False
        self.setting_up = threading.RLock()
        self.reader: tuple[RunOptions, Reader[BatchT_co]] | None = None
        self.profiler: Any = None
        self.trained: dict[Any, Any] | None = {}

    @property
    def names(self) -> frozenset[str]:
        """The names of the variables."""
        return frozenset(self._declared)

    def has(self, name: str) -> bool:
        """Check whether a variable is declared."""
        return name in self._declared

    def get(self, name: str) -> Any:
        """Return the value of a variable, made now if it is not there yet."""
        try:
            return self._values[name]
        except KeyError:
            with self._guard:
                if name not in self._values:
                    self._values[name] = self.declaration(name).initial_value()
                return self._values[name]

    def set(self, name: str, value: Any) -> None:
        """Set the value of a variable."""
        self.declaration(name)
        self._values[name] = value

    def start_run(self, seed: int) -> None:
        """Make the variables anew that every run starts with."""
        with self._guard:
            self.seed = seed
            for name, variable in self._declared.items():
                if variable.on_each_run:
                    self._values[name] = variable.initial_value()

    def open_reader(
        self, options: RunOptions, make: Callable[[], Reader[BatchT_co]]
    ) -> Reader[BatchT_co]:
        """Return the open run of `next_batch`, made now if there is none."""
        with self._guard:
            if self.reader is None:
                self.reader = options, make()
            if options != self.reader[0]:
                raise ArgumentValueError(
                    "next_batch goes on with the run that its first call began, whose arguments "
                    'were others; call reset("iter") to begin a new one'
                )
            return self.reader[1]

    def view(self, pipeline: Any, written: Collection[str]) -> PipelineView:
        """Make the view that parallel actions get; `written`: the variables that steps write."""
        constant = {n: _frozen(self.get(n)) for n in self._declared if n not in written}
        return PipelineView(pipeline, constant, written)

    def model_slot(self, name: str) -> ModelSlot:
        """Return the place of one of the pipeline's own models."""
        with self._guard:
            return self._models.setdefault(name, ModelSlot(name))

    def share_models(self, other: PipelineState[Any]) -> None:
        """Own the models that another pipeline has made, too: the same places, the same locks."""
        with other._guard:
            made = {name: slot for name, slot in other._models.items() if slot.is_made}
        with self._guard:
            self._models.update(made)

    def reset(self, what: Collection[str]) -> None:
        """Forget what runs have left: see `Pipeline.reset`. No name means the open run alone."""
        parts: set[str] = set()
        for name in what or ("iter",):
            if not isinstance(name, str) or name not in _RESETS:
                hint = did_you_mean(name, _RESETS)
                if isinstance(name, (list, tuple)):
                    hint = f" One by one: reset({', '.join(map(repr, name))})"
                raise ArgumentValueError(f"reset({name!r}): there is no such part.{hint}")
            parts.update(_RESETS[name])
        with self._guard:
            reader = self.reader
            if "iter" in parts:
                self.reader = None
        if "iter" in parts and reader is not None:
            reader[1].close()
        with self._guard:
            if "variables" in parts:
                self._values.clear()
            if "models" in parts:
                self._models.clear()
                self.trained = self.trained and {}
            self.is_set_up = self.is_set_up and parts == {"iter"}

    def declaration(self, name: str) -> Variable:
        """Return the declaration of a variable.

        Raises:
            UnknownNameError: (a `KeyError`) It is not declared.
        """
        try:
            return self._declared[name]
        except KeyError:
            hint = did_you_mean(name, self._declared)
            raise UnknownNameError(
                f"no variable {name!r} is declared.{hint} Declare it with "
                f".init_variable({name!r}, ...) in the chain"
            ) from None


_CANNOT_TRAVEL = "is not here: it cannot travel to another process"


class PipelineView:
    """The `batch.pipeline` of parallel actions: a pipeline that they can only read.

    Batches run ahead of the ordered steps by an amount that depends on timing. So variables have
    here the values with which the run started, and writing is refused: either would otherwise make
    the result depend on the parallelism. For the same reason lists, dictionaries, sets and arrays
    come as read-only copies (a list as a tuple), and a variable that some step of the chain writes
    cannot be read here at all.
    """

    def __init__(self, pipeline: Any, values: dict[str, Any], written: Collection[str]) -> None:
        self._pipeline = pipeline
        self.values = values
        self._written = written

    def v(self, name: str) -> Any:
        """Return the value that a variable had when the run started.

        Raises:
            ArgumentValueError: Some step writes it.
        """
        if name in self.values:
            return self.values[name]
        if name in self._written:
            raise ArgumentValueError(
                f"a parallel action cannot read the variable {name!r}, which a step of this "
                "pipeline writes: how many batches have written it is not defined there. Mark the "
                f"action @action(singleton=True), or pass it the value: V({name!r})"
            )
        return self._pipeline.v(name)  # not declared: raises

    get_variable = v

    def __getstate__(self) -> dict[str, Any]:
        pipeline = self._pipeline
        away = pipeline if isinstance(pipeline, _PipelineAway) else _PipelineAway(pipeline)
        return {**self.__dict__, "_pipeline": away}

    def without(self, names: Collection[str], settings: Collection[str]) -> PipelineView:
        """Give a view for a process where some variables and entries of the config are not."""
        values = {name: value for name, value in self.values.items() if name not in names}
        away = _PipelineAway(self._pipeline)
        for name in settings:
            absent = Absent(f"the entry {name!r} of the config", _CANNOT_TRAVEL)
            away.config = away.config | {name: absent}
        return PipelineView(away, values, self._written)

    @property
    def names(self) -> frozenset[str]:
        """The names of the variables."""
        return frozenset([*self.values, *self._written])

    def set_variable(self, name: str, value: Any) -> None:  # noqa: ARG002  refused
        """Refuse."""
        raise ArgumentValueError(
            f"a parallel action cannot set the variable {name!r}: the order of the batches is not "
            "defined there. Mark the action @action(singleton=True)"
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("config", "dataset", "models", "m", "seed", "has_variable"):
            return getattr(self._pipeline, name)
        raise AttributeError(
            f"in a parallel action batch.pipeline only reads: it has v, get_variable, "
            f"has_variable, config, dataset, models and seed, not {name!r}. Mark the action "
            "@action(singleton=True) to do more"
        )


class _PipelineAway:
    """Stands for a pipeline in another process, where its models and variables are not."""

    def __init__(self, pipeline: Any) -> None:
        self.config = pipeline.config
        self.dataset = pipeline.dataset
        self.seed = pipeline.seed
        self._names = frozenset(pipeline._state._declared)

    def has_variable(self, name: str) -> bool:
        return name in self._names

    def v(self, name: str) -> Any:
        if name in self._names:
            raise ArgumentTypeError(
                f"the variable {name!r} is not here: its value cannot travel to another process"
            )
        raise UnknownNameError(
            f"no variable {name!r} is declared.{did_you_mean(name, self._names)}"
        )

    @property
    def models(self) -> Any:
        raise ArgumentTypeError("the models of a pipeline stay with its process")

    def m(self, name: str) -> Any:  # noqa: ARG002  refused
        return self.models


def _frozen(value: Any) -> Any:
    """Return a copy of a container that nobody can change, to the depth; other values unchanged."""
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flags.writeable = False
        return value
    if isinstance(value, dict):
        held = copy.copy(value)  # keeps what a subclass adds, such as a default
        held.update({key: _frozen(part) for key, part in value.items()})
        return types.MappingProxyType(held)
    if isinstance(value, (list, deque)):
        return tuple(_frozen(part) for part in value)
    if type(value) is tuple:
        return tuple(_frozen(part) for part in value)
    return frozenset(value) if isinstance(value, set) else value
