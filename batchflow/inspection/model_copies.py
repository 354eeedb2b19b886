"""Copies of models, so that a look at what the steps do to them changes none.

Guarantees:
    - A copy has nothing in common with its model that could change: what the model holds is plain
      data and ordinary objects, or there is no copy. (What a model keeps elsewhere, in a global
      variable or on a server, is not seen.)
    - While `watched` holds, code of this context that asks for a model by name gets its copy; other
      threads, and runs that are under way in them, get the model.
    - Afterwards everything is as before.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
import threading
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any

from batchflow.batch.directory import hooked
from batchflow.engine.preparation.models import PipelineModels
from batchflow.errors import SkipBatch


class NoCopyError(SkipBatch):
    """An action asks for a model of which there is no copy. A signal, which no step takes on.

    Args:
        name: The model.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Copies:
    """The copies of some models, one for each.

    Attributes:
        asked: The names of the models that code has asked for since `asked` was emptied.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._made: dict[int, _Copied] = {}  # by the id of the model
        self._guard = threading.Lock()  # actions for single items ask from several threads

    def of(self, name: str, model: Any) -> Any:
        """Return the copy of a model, made now if it is not there yet.

        Raises:
            NoCopyError: There can be none.
        """
        with self._guard:
            made = self._made.get(id(model))
            if made is None:
                made = self._made[id(model)] = _Copied(name, model)
        if made.state is None:
            raise NoCopyError(name)
        return made.copy

    def asked_for(self, name: str, model: Any) -> Any:
        """Return the copy of a model for code that asks for it by name, and note that it asks."""
        self.asked.append(name)
        return self.of(name, model)

    def changed(self) -> list[str]:
        """Return the names of the models whose copies were changed since this was last asked."""
        return [made.name for made in [*self._made.values()] if made.is_changed()]


class _Copied:
    """A model and its copy; `state` is None if there is no copy."""

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model  # kept, so that its id stays its own
        self.copy = None
        self.state: bytes | None = None
        packed = None if isinstance(model, type) else _packed(model)
        if packed is not None:
            with suppress(Exception):  # whatever its class says to it
                self.copy = pickle.loads(packed)
                self.state = self._now()

    def is_changed(self) -> bool:
        if self.state is None:
            return False
        before, self.state = self.state, self._now()
        return before != self.state

    def _now(self) -> bytes:
        """Return a digest that stays equal as long as the copy does."""
        return hashlib.sha256(_packed(self.copy) or b"what cannot be packed any more").digest()


class CopiedModels(PipelineModels):
    """The models of a pipeline: each as its copy, if it has one."""

    def __init__(self, models: PipelineModels, copies: Copies) -> None:
        declared = models._declared.values()
        super().__init__(models._directory, declared, models._state, models._pipeline)
        self._copies = copies

    def get(self, name: str, batch: Any = None) -> Any:
        """Return the copy of a model; the model itself if there is none."""
        with hooked(None):
            model = super().get(name, batch)
        try:
            return self._copies.of(name, model)
        except NoCopyError:
            return model

    def has_copy(self, name: str, batch: Any) -> bool:
        """Check whether there is a copy of a model, made now if it is not there yet."""
        with hooked(None):
            return super().get(name, batch) is not self.get(name, batch)

    def make_static(self, names: Iterable[str]) -> None:
        """Make the static models of the batch class among these, as a run does when it starts."""
        for name in names:
            if name not in self._declared and not self.is_dynamic(name):
                super().get(name)


# ---- copying


class _Strict(pickle.Pickler):
    """Packs plain data, arrays and objects that pack themselves in no way of their own.

    A function may work on what it was made with, and a handle stands for something elsewhere: what
    they do to their copies they would do to the original.
    """

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        is_function = isinstance(value, FunctionType | BuiltinFunctionType)
        if isinstance(value, type | Enum) or _is_known(value if is_function else kind):
            return NotImplemented
        own = {name for cls in kind.__mro__ if not _is_known(cls) for name in vars(cls)}
        if isinstance(value, tuple):
            own.discard("__new__")  # as all named tuples have one
        if (
            is_function
            or own & _OWN_WAYS
            or kind in copyreg.dispatch_table
            or kind.__module__.startswith("batchflow.")  # an Estimator writes files
        ):
            raise pickle.PicklingError(f"a copy of {kind.__name__} may not be one")
        return NotImplemented


_KNOWN = frozenset({"builtins", "collections", "copyreg", "datetime", "decimal", "numpy"})
_OWN_WAYS = frozenset({"__new__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"})


def _is_known(value: Any) -> bool:
    """Check whether a class or function is of Python or NumPy, whose copies are copies."""
    return str(value.__module__).partition(".")[0] in _KNOWN


def _packed(model: Any) -> bytes | None:
    packed = io.BytesIO()
    try:
        _Strict(packed, pickle.HIGHEST_PROTOCOL).dump(model)
    except Exception:  # noqa: BLE001  whatever its parts say to it
        return None
    return packed.getvalue()
