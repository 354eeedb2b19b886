"""The models of a pipeline: the batch class's, those that its chain declares, and imported ones."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from batchflow.batch.directory import ModelDirectory, ModelSlot, looked_up
from batchflow.engine.preparation.no_batch import NoBatch
from batchflow.engine.state import PipelineState
from batchflow.errors import (
    ArgumentTypeError,
    UnknownAttributeError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.models.build import build, is_builder
from batchflow.plan import DeclaredModel
from batchflow.plan.expressions import Expression, resolved
from batchflow.plan.leaves import ConfigValue

_MODEL = 1  # the key word of what is drawn for a model's config

# The places of the models that were given as objects: by the id of the object, or, of one to which
# there are no weak references, of its declaration. An entry lives as long as what it is of.
_given: dict[int, ModelSlot] = {}
_guard = threading.Lock()


def slot_of_object(given: Any, declared: DeclaredModel) -> ModelSlot:
    """Return the place of a model that was given as an object: one for each object.

    So all pipelines that were given it exclude each other. (Of an object to which there are no
    weak references, such as a dictionary: all that have the same declaration.)
    """
    with _guard:
        slot = _given.get(id(given)) or _given.get(id(declared))
        if slot is None:
            slot = ModelSlot(declared.name)
            try:
                _keep_while(given, slot)
            except TypeError:
                _keep_while(declared, slot)
        return slot


def _keep_while(owner: Any, slot: ModelSlot) -> None:
    """Keep a place while its owner lives; raise TypeError if there are no weak references to it."""
    weakref.finalize(owner, _given.pop, id(owner), None)
    _given[id(owner)] = slot


class PipelineModels:
    """The models of a pipeline by name: `pipeline.models["net"]`.

    Static models of the batch class are shared by all its pipelines; dynamic ones, and those that
    the chain declares with `init_model`, are the pipeline's own; an imported model is the other
    pipeline's.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        declared: Iterable[DeclaredModel],
        state: PipelineState,
        pipeline: Any,
    ) -> None:
        self._directory = directory
        self._declared = {model.name: model for model in declared}
        self._state = state
        self._pipeline = pipeline

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models, sorted."""
        return tuple(sorted({*self._directory.names, *self._declared}))

    def __getitem__(self, name: str) -> Any:
        """Return a model. A static one is made if it is not there yet.

        Raises:
            UnknownNameError: (a `KeyError`) There is no such model, or it is dynamic and no batch
                has reached it yet.
            ModelDefinitionError: It is not there yet, and a parallel action asks.
        """
        return looked_up(name, self._find)

    def _find(self, name: str) -> Any:
        is_given = name in self._declared and not is_builder(self._builder(name))
        if not self.is_dynamic(name) or is_given:
            if not is_given:
                self.slot(name).refuse_in_parallel()
            return self.get(name)
        made = self.slot(name).look()
        if made is None:
            raise UnknownNameError(
                f"the dynamic model {name!r} is made from the first batch that reaches a step "
                "with it; the pipeline has not run yet"
            )
        return made.result()

    def __contains__(self, name: object) -> bool:
        return name in self._declared or name in self._directory

    def __repr__(self) -> str:
        return f"<models of a pipeline: {', '.join(self.names) or 'none'}>"

    def is_dynamic(self, name: str) -> bool:
        """Check whether a model is made from the first batch."""
        declared = self._declared.get(name)
        if declared is not None:
            return declared.mode == "dynamic"
        if name not in self._directory:
            raise UnknownNameError(
                f"the pipeline has no model {name!r}.{did_you_mean(name, self.names)}"
            )
        return self._directory.definition(name).mode == "dynamic"

    def slot(self, name: str) -> ModelSlot:
        """Return the place of a model, and its lock."""
        declared = self._declared.get(name)
        if declared is not None and declared.imported_from is not None:
            slot: ModelSlot = declared.imported_from.models.slot(name)
            return slot
        if declared is None and not self.is_dynamic(name):
            return self._directory.definition(name).slot
        if declared is not None and not is_builder(builder := self._builder(name)):
            return slot_of_object(builder, declared)
        return self._state.model_slot(name)

    def get(self, name: str, batch: Any = None) -> Any:
        """Return a model, made now if it is not there yet.

        Args:
            name: Its name.
            batch: The batch that a dynamic model is made from.
        """
        declared = self._declared.get(name)
        if declared is None:
            define: Callable[..., Any] = self._directory.definition(name).function
            make = partial(self._define, name, define, batch) if self.is_dynamic(name) else define
            return self.slot(name).get(make)
        if declared.imported_from is not None:
            return declared.imported_from.models[name]
        if not is_builder(self._builder(name)):
            return self._make(declared, batch)  # it is there; its place would keep it for ever
        return self.slot(name).get(partial(self._make, declared, batch))

    def _define(self, name: str, define: Callable[..., Any], batch: Any) -> Any:
        """Make a dynamic model of the batch class, and note from which batch."""
        self._note(name, batch)
        return define(batch)

    def _note(self, name: str, batch: Any) -> None:
        if getattr(batch, "number", None) is not None:
            self.slot(name).made_from = (batch.epoch or 0, batch.number)

    def _make(self, declared: DeclaredModel, batch: Any) -> Any:
        self._note(declared.name, batch)
        at = batch
        if at is None:
            import zlib  # on use, for a light import

            seed = self._state.seed
            key = None if seed is None else (seed, _MODEL, zlib.crc32(declared.name.encode()))
            at = NoBatch(self._pipeline, self._pipeline.dataset, key)
            return build(self._builder(declared.name), self._config_without_batch(declared, at))
        return build(self._builder(declared.name), resolved(declared.config, at), batch)

    def _config_without_batch(self, declared: DeclaredModel, at: Any) -> Any:
        """Return the config of a static model, which is made before there is a batch."""
        try:
            return resolved(declared.config, at)
        except UnknownAttributeError as error:
            raise UnknownAttributeError(
                f"the config of the model {declared.name!r}, which is made before the first batch: "
                f"{error}. To make the model from the first batch: "
                f'init_model({declared.name!r}, ..., mode="dynamic")'
            ) from None

    def _builder(self, name: str) -> Any:
        """Return what makes a declared model, or the model itself; perhaps from the config."""
        declared = self._declared[name]
        if not isinstance(declared.builder, ConfigValue):
            return declared.builder
        no_batch: Any = NoBatch(self._pipeline, None, None)
        builder = resolved(declared.builder, no_batch)
        if isinstance(builder, (str, Mapping, Expression)) or builder is None:
            raise ArgumentTypeError(
                f"init_model({name!r}): {declared.builder!r} of the config makes a model, and is a "
                f"class or a function, or the model itself; got {builder!r:.60}"
            )
        return builder
