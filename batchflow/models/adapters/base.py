"""The questions that are asked of a model, whatever its kind."""

from __future__ import annotations

import inspect
import os
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from batchflow.errors import ArgumentTypeError, UnknownNameError, did_you_mean

Fetches = str | int | Sequence[str | int] | None
Call = tuple[Sequence[Any], Mapping[str, Any]]  # the arguments of one training step


class Adapter(ABC):
    """A model in a pipeline.

    Attributes:
        model: The model.
        kind: What the model is, in messages; empty: the name of its class says it.
        needs_order: Whether steps of several threads at once are known to lose updates or to break
            the model.
        trains_several: Whether several training steps can be done in one compiled call.
    """

    kind: ClassVar[str] = ""
    needs_order: ClassVar[bool] = False
    trains_several: ClassVar[bool] = False

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def title(self) -> str:
        """The name of the model in messages."""
        return f"an object of the class {type(self.model).__name__}"

    @abstractmethod
    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Do one training step: see `batchflow.models.calls.train`."""

    def train_several(
        self,
        calls: Sequence[Call],
        fetches: Sequence[Fetches],
        n_per_call: int | None,  # noqa: ARG002  only single steps here
    ) -> list[Any]:
        """Do several training steps: see `batchflow.models.calls.train_several`."""
        steps = zip(calls, fetches, strict=True)
        return [self.train(args, kwargs, names) for (args, kwargs), names in steps]

    @abstractmethod
    def predict(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Predict: see `batchflow.models.calls.predict`."""

    def evaluate(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:  # noqa: ARG002
        """Test on one batch: see `batchflow.models.calls.evaluate`."""
        raise ArgumentTypeError(
            f"{self.title} cannot be evaluated: a model that is tested by a pipeline is a Keras "
            "model or an object with a method evaluate(...) or score(...). For anything else write "
            "the test in an @action(model=..., singleton=True)"
        )

    def watch(self) -> Callable[[bool], None] | None:
        """Begin to watch a run that has this model.

        Returns:
            What the run calls when it ends, with whether an error has ended it; None: nothing.
        """
        return None

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to a file: see `batchflow.models.checkpoint.save`."""

    def snapshot(self) -> Callable[[str], None] | None:
        """Take a copy of the state.

        Returns:
            What writes it to a file as `save` does, later and in any thread; None: the model only
            saves itself.
        """
        return None

    @abstractmethod
    def load(self, path: str | os.PathLike[str], trust: bool) -> Any:
        """Load a file into the model: see `batchflow.models.checkpoint.load`.

        Returns:
            The model; another object where the file could not be loaded into it.
        """

    def shares_state(self, other: Any) -> bool:
        """Check whether another model is this one, or has variables in common with it."""
        return self.model is other

    def choose(self, result: Any, fetches: Fetches, verb: str) -> Any:
        """Return one value of a result by its name, or a list of several.

        Args:
            result: A mapping, a list, or an object with attributes.
            fetches: A name or position, or a list of them.
            verb: The call that gave the result, for the message.

        Raises:
            UnknownNameError: (a `KeyError`) The result has no such value.
        """
        if isinstance(fetches, list | tuple):
            return [self._choose_one(result, name, verb) for name in fetches]
        return self._choose_one(result, fetches, verb)

    def _choose_one(self, result: Any, name: Any, verb: str) -> Any:
        known: Any = ()
        if isinstance(result, Mapping):
            if name in result:
                return result[name]
            known = result
        elif isinstance(name, str):
            if hasattr(result, name):
                return getattr(result, name)
            known = (key for key in getattr(result, "__dict__", ()) if not key.startswith("_"))
        elif isinstance(result, list | tuple):
            known = range(len(result))
            if name in known:
                return result[name]
        raise UnknownNameError(
            f"{self.title} gives no {name!r} in {verb}: the result is a {type(result).__name__}."
            + did_you_mean(name, map(str, known))
        )

    def choose_from_logs(self, logs: Any, kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Return values of a training step by name; without names its loss.

        Args:
            logs: The loss and the metrics, by name.
            kwargs: The arguments of the step: with `return_dict=True` it gives all values.
            fetches: As for `choose`.
        """
        if fetches is None:
            return logs if kwargs.get("return_dict") else self.choose(logs, "loss", "train")
        return self.choose(logs, fetches, "train")


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a callable; None for some that are built in."""
    if inspect.isclass(function) and inspect.isfunction(function.__init__):
        # A class's own signature may be that of a `__new__` which passes everything on (Keras).
        return inspect.signature(types.MethodType(function.__init__, function))
    try:
        return inspect.signature(function)
    except ValueError:
        return None
