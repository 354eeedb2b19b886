"""Model definitions and the directory in which their descriptors live.

Guarantees:
    - A static definition runs at first need, never at import, once for the class that defines it
      and the subclasses that do not redefine it.
    - Whoever asks while it runs waits and gets the same descriptor, or the same exception.
    - A definition that raised runs again at the next need.
    - A definition runs in the thread that asks or that starts the run, under its settings (Keras
      keeps dtype policy, device, distribution and name scope for each thread, TensorFlow 1 its
      default graph), and never in a worker.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from batchflow.errors import (
    ModelDefinitionError,
    UnknownNameError,
    add_note_once,
    did_you_mean,
)
from batchflow.executors.item_threads import is_worker
from batchflow.extras import advice_on

if TYPE_CHECKING:
    from concurrent.futures import Future

Mode = Literal["static", "dynamic"]
_serial_numbers = itertools.count()

# Whether the code is part of a parallel action, which may run in any thread.
in_parallel: ContextVar[bool] = ContextVar("in_parallel", default=False)

# Whether parallel actions of this run do work on several batches at once: it has `prefetch`.
side_by_side: ContextVar[bool] = ContextVar("side_by_side", default=False)

# Called with the name and the model that code of this context asks for by name; what it returns is
# what the code gets. None: the model itself.
lookup_hook: ContextVar[Callable[[str, Any], Any] | None]
lookup_hook = ContextVar("lookup_hook", default=None)

# The place that each waiting thread waits for, to see a circle before it closes. While the guard is
# held nothing else is locked and no other code is called.
_guard = threading.Lock()
_waiting: dict[int, ModelSlot] = {}


def looked_up(name: str, find: Callable[[str], Any]) -> Any:
    """Return a model for code that asks for it by name, as `lookup_hook` has it."""
    hook = lookup_hook.get()
    if hook is None:
        return find(name)
    with hooked(None):  # a definition may ask for models, and one directory asks another
        found = find(name)
    return hook(name, found)


@contextmanager
def hooked(hook: Callable[[str, Any], Any] | None) -> Iterator[None]:
    """Let the code of this context that asks for models by name go by a hook for a while.

    Whoever takes a model by `MyBatch.models["net"]`, `self.net()` or `pipeline.models["net"]` comes
    through one of the two directories, which ask the hook.
    """
    token = lookup_hook.set(hook)
    try:
        yield
    finally:
        lookup_hook.reset(token)


class ModelSlot:
    """The place of one descriptor: made once, and locked while it is trained.

    Attributes:
        made_from: The epoch and the number of the batch that a dynamic model was made from.
        lock: Held by an ordered section while it works on a batch.
        serial_number: Sections take the locks of several models in the order of these numbers.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._made: Future[Any] | None = None
        self._maker: int | None = None  # the thread that makes it now
        self.made_from: tuple[int, int] | None = None
        self.lock = threading.RLock()
        self.serial_number = next(_serial_numbers)

    def __reduce__(self) -> Any:
        return ModelSlot, (self._name,)  # in another process it is empty

    @property
    def is_made(self) -> bool:
        """Whether the descriptor is there."""
        return self._made is not None and self._maker is None

    def look(self) -> Future[Any] | None:
        """Return the future of the descriptor; None if nobody has asked for it."""
        return self._made

    def refuse_in_parallel(self) -> None:
        """Refuse to make the descriptor for a parallel action that asks for it by name.

        A worker has none of the settings of the thread that starts the run; and a definition that
        ran now in this thread and now in that would make the answer depend on the parallelism.

        Raises:
            ModelDefinitionError: Nobody has asked for it before; or this is a worker process.
        """
        if self._made is None and in_parallel.get():
            if is_worker():
                raise ModelDefinitionError(
                    f"the model {self._name!r} is not here: models stay in the main process, and "
                    "this action runs in a worker process. Let it be an ordered action, "
                    f'@action(model="{self._name}", singleton=True), or run in threads'
                )
            raise ModelDefinitionError(
                f"the model {self._name!r} is not made yet, and a parallel action cannot make it. "
                f'Write @action(model="{self._name}"), and it is made when the run starts; or make '
                f'it before the run: MyBatch.models["{self._name}"], or, if the chain declares it, '
                f'pipeline.models["{self._name}"]'
            )

    def get(self, make: Callable[[], Any]) -> Any:
        """Return the descriptor; the first caller makes it, others wait meanwhile.

        Raises:
            ModelDefinitionError: The definition needs the model that it is to make.
        """
        from concurrent.futures import Future  # on use, for a light import

        mine: Future[Any] | None = None
        me = threading.get_ident()
        with _guard:
            made = self._made
            if made is None:
                self._made = mine = Future()
                self._maker = me
            elif self._maker is not None:
                self._refuse_circle(me)
                _waiting[me] = self
        try:
            if mine is not None:
                return self._make(make, mine)
            return made.result()  # type: ignore[union-attr]
        finally:
            made = mine = None  # their error holds this frame: no circle
            with _guard:
                _waiting.pop(me, None)

    def _refuse_circle(self, me: int) -> None:
        """Refuse to wait for a thread that waits, over however many others, for this one."""
        slot: ModelSlot | None = self
        while slot is not None and slot._maker is not None:
            if slot._maker == me:
                raise ModelDefinitionError(
                    f"the definition of the model {slot._name!r} asks for {slot._name!r} itself"
                    + ("" if slot is self else f", by way of {self._name!r}")
                )
            slot = _waiting.get(slot._maker)

    def forget(self) -> None:
        """Forget the descriptor; who asks next makes a new one."""
        with _guard:
            self._made = None

    def _make(self, make: Callable[[], Any], made: Future[Any]) -> Any:
        in_action = in_parallel.set(False)  # a definition may ask for the models that it needs
        try:
            descriptor = make()
        except BaseException as error:
            add_note_once(error, f"while the model {self._name!r} was made")
            from batchflow.models.tf1 import advice_on_graph  # on use

            if advice := advice_on(error) or advice_on_graph(error):
                add_note_once(error, advice)
            with _guard:
                self._maker = None
                if self._made is made:
                    self._made = None
            made.set_exception(error)
            del made  # the error holds this frame: no circle
            raise
        finally:
            in_parallel.reset(in_action)
        with _guard:
            self._maker = None
        made.set_result(descriptor)
        return descriptor


class ModelDefinition:
    """A method marked by `@model`; as an attribute of the class, a way to the descriptor."""

    def __init__(self, function: Callable[..., Any], mode: Mode) -> None:
        self.function = function
        self.mode = mode
        self.name = function.__name__
        self.slot = ModelSlot(self.name)  # of a static model; pipelines have their own for dynamic
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, batch: object, owner: Any) -> Callable[[], Any]:
        # A definition is never run by a call: the call gives what the directory holds.
        return lambda: owner.models[self.name]


class ModelDirectory:
    """The static models of a batch class, by name: `MyBatch.models["name"]`.

    Example:
        >>> from batchflow import Batch, model
        >>> class MyBatch(Batch):
        ...     @model()
        ...     def counter():
        ...         return {"steps": 0}
        >>> MyBatch.models.names
        ('counter',)
        >>> MyBatch.models["counter"]
        {'steps': 0}
    """

    def __init__(self, owner: type) -> None:
        self._owner_name = owner.__name__
        self._definitions: dict[str, ModelDefinition] = {}
        for cls in reversed(owner.__mro__):
            for name, value in list(vars(cls).items()):
                self._definitions.pop(name, None)
                if isinstance(value, staticmethod) and isinstance(
                    value.__func__, ModelDefinition
                ):  # @staticmethod above @model() says nothing more
                    value = value.__func__
                    setattr(cls, name, value)
                if isinstance(value, ModelDefinition):
                    self._definitions[name] = value

    def beside(self, *others: ModelDirectory) -> ModelDirectory:
        """Return a directory of these models and of those of others, whose names are not taken."""
        if not others:
            return self
        directory = copy.copy(self)
        directory._definitions = {}
        for one in (*reversed(others), self):
            directory._definitions |= one._definitions
        return directory

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models that the class defines or inherits, sorted."""
        return tuple(sorted(self._definitions))

    def __getitem__(self, name: str) -> Any:
        """Return the descriptor of a static model, made now if it is not there yet.

        Raises:
            UnknownNameError: (a `KeyError`) The class has no such model.
            ModelDefinitionError: The model is dynamic; or it is not there yet, and a parallel
                action asks.
        """
        return looked_up(name, self._find)

    def _find(self, name: str) -> Any:
        definition = self.definition(name)
        if definition.mode == "dynamic":
            raise ModelDefinitionError(
                f"{self._owner_name}.{name} is a dynamic model: each pipeline makes its own from "
                f'its first batch. Ask the pipeline: pipeline.models["{name}"]'
            )
        definition.slot.refuse_in_parallel()
        return definition.slot.get(definition.function)

    def __contains__(self, name: object) -> bool:
        return name in self._definitions

    def __repr__(self) -> str:
        shown = [
            f"{name}: {'made' if self.definition(name).slot.is_made else 'not made yet'}"
            for name in self.names
        ]
        return f"{self._owner_name}.models({', '.join(shown)})"

    def definition(self, name: str) -> ModelDefinition:
        """Return the definition of a model."""
        try:
            return self._definitions[name]
        except KeyError:
            raise UnknownNameError(
                f"{self._owner_name} has no model {name!r}.{did_you_mean(name, self._definitions)}"
                " Models are defined by methods marked with @model()"
            ) from None

    def reset(self, name: str) -> None:
        """Forget a descriptor: the next need makes a new one. Runs under way keep theirs.

        It is forgotten for all classes that share it: the defining one and its subclasses.
        """
        self.definition(name).slot.forget()


def model(mode: Mode = "static") -> Callable[[Callable[..., Any]], ModelDefinition]:
    """Mark a method of a batch class as the definition of a model.

    The method returns the model's *descriptor*: any object that holds what the actions need to
    train, evaluate or predict (a Keras model, a list of tensors and optimizers, a dict). Actions
    get it by `@action(model="name")`; `MyBatch.models["name"]` gives it anywhere else.

    Args:
        mode: `"static"`: the method takes no arguments, not even `self`; its descriptor is made
            once for the class, when it is first needed. `"dynamic"`: the method takes the first
            batch; each pipeline makes a descriptor of its own.

    Returns:
        A decorator.

    Raises:
        ModelDefinitionError: (a `TypeError`) The decorator is written without parentheses, or the
            method has parameters that its mode does not allow.

    Example:
        >>> from batchflow import Batch, action, model
        >>> class MyBatch(Batch):
        ...     @model()
        ...     def steps():
        ...         return []
        ...
        ...     @action(model="steps", singleton=True)
        ...     def train(self, steps):
        ...         steps.append(self.number)
        ...         return self
    """
    if callable(mode):
        raise ModelDefinitionError(
            f"@model needs parentheses: write @model() above def {getattr(mode, '__name__', '...')}"
        )
    if mode not in ("static", "dynamic"):
        raise ModelDefinitionError(f'@model(mode=...) is "static" or "dynamic", got {mode!r}')

    def mark(function: Callable[..., Any]) -> ModelDefinition:
        if not inspect.isfunction(function):
            raise ModelDefinitionError(f"@model() marks a method, got {function!r:.60}")
        parameters = list(inspect.signature(function).parameters)
        if mode == "static" and parameters:
            raise ModelDefinitionError(
                f"a static model definition takes no arguments, not even self: write "
                f"def {function.__name__}(): instead of def {function.__name__}"
                f'({", ".join(parameters)}):. If it needs data, use @model(mode="dynamic"), '
                "which gets the first batch"
            )
        if mode == "dynamic" and len(parameters) != 1:
            raise ModelDefinitionError(
                "a dynamic model definition takes one argument, the first batch: write "
                f"def {function.__name__}(batch): instead of def {function.__name__}"
                f"({', '.join(parameters)}):"
            )
        return ModelDefinition(function, mode)

    return mark
