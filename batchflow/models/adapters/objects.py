"""Objects of any class: trained, asked and saved by their own methods, or by pickle."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.files import checked_path, replacing
from batchflow.models.adapters.base import Adapter, Fetches, signature_of

TESTS = ("test_on_batch", "evaluate", "score")  # the methods that test a model on one batch

_ZIP_MAGIC = b"PK"


class ObjectAdapter(Adapter):
    """An object that is no model of a framework. It may be a function or a class, too."""

    @property
    def title(self) -> str:
        """The name of the model in messages."""
        value = self.model
        while isinstance(value, functools.partial):
            value = value.func
        name = getattr(value, "__qualname__", None)
        if isinstance(name, str):
            return name.rpartition("<locals>.")[2]
        return f"an object of the class {type(value).__name__}"

    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `train_on_batch`, `train` or `partial_fit`: the first that the object has."""
        for name in ("train_on_batch", "train"):
            if callable(step := getattr(self.model, name, None)):
                return self._call(step, args, kwargs, fetches)
        if callable(step := getattr(self.model, "partial_fit", None)):
            step(*args, **kwargs)
            if fetches is None:
                return None
            # Copied: the next step changes the arrays of an estimator in place.
            return copy.deepcopy(self.choose(self.model, fetches, "partial_fit"))
        raise ArgumentTypeError(
            f"{self.title} cannot be trained: a model that is trained by a pipeline is a Keras "
            "model or an object with a method train(...) or partial_fit(...). For anything else "
            "write the step in an @action(model=..., singleton=True)"
        )

    def predict(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `predict`, the object itself, or `transform`."""
        name = "transform" if self._is_transformer else "predict"
        if callable(method := getattr(self.model, name, None)):
            return self._call(method, args, kwargs, fetches)
        outputs = self._call_model(args, kwargs)
        return outputs if fetches is None else self.choose(outputs, fetches, "predict")

    def evaluate(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `test_on_batch`, `evaluate` or `score`: the first that the object has."""
        for name in TESTS:
            if callable(test := getattr(self.model, name, None)):
                return self._call(test, args, kwargs, fetches)
        return super().evaluate(args, kwargs, fetches)

    @property
    def _is_transformer(self) -> bool:
        return not callable(self.model) and not hasattr(self.model, "predict")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Call `save`, or write a pickle."""
        if callable(method := getattr(self.model, "save", None)):
            method(path)
            return
        file = checked_path(path)
        import dill  # type: ignore[import-untyped]

        with replacing(file) as temporary, open(temporary, "xb") as stream:
            try:
                dill.dump(self.model, stream)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                error.add_note(
                    f"A {type(self.model).__name__} cannot be pickled. Give its class the methods "
                    "save(path) and load(path)"
                )
                raise

    def load(self, path: str | os.PathLike[str], trust: bool) -> Any:
        """Call `load`, or return the model that is in the file."""
        if callable(method := getattr(self.model, "load", None)):
            loaded = method(path)
            return self.model if loaded is None else loaded
        file = os.path.realpath(path)
        if file.endswith(".keras"):
            from batchflow.models.keras_files import load_whole

            return load_whole(file)
        return _load_pickle(file, trust)

    def _call(
        self,
        method: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        fetches: Fetches,
    ) -> Any:
        """Call a method of the object, and let it choose, or choose from its result."""
        signature = None if fetches is None else signature_of(method)
        if signature is not None and "fetches" in signature.parameters:
            return _read(method(*args, fetches=fetches, **kwargs))
        result = _read(method(*args, **kwargs))
        return result if fetches is None else self.choose(result, fetches, method.__name__)

    def _call_model(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if callable(self.model):
            return self.model(*args, **kwargs)
        raise ArgumentTypeError(
            f"{self.title} cannot predict: a model that predicts in a pipeline is a Keras "
            "model, an object with a method predict(...) or transform(...) or anything that can be "
            "called"
        )


def _read(result: Any) -> Any:
    """Read a generator to its end now, while no other step works on the model."""
    return list(result) if isinstance(result, types.GeneratorType) else result


def _load_pickle(file: str, trust: bool) -> Any:
    with open(file, "rb") as stream:
        if stream.read(2) == _ZIP_MAGIC:
            raise ArgumentValueError(
                f"{file} holds the state of a Keras or torch model, and no model that could take "
                "it was given: load it into a model, or give a builder"
            )
        if not trust:
            raise ArgumentValueError(
                f"{file} is a pickle or unknown. Reading a pickle runs any code that its writer "
                "put into it: pass trust=True if you know that writer"
            )
        import dill

        stream.seek(0)
        try:
            return dill.load(stream)
        except (pickle.UnpicklingError, EOFError) as error:
            raise ArgumentValueError(f"{file} is damaged or no pickle: {error}") from error
