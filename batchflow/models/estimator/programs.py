"""The programs of one model function, in all modes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.models.estimator.batches import Batch, Signature
from batchflow.models.estimator.config import RunConfig
from batchflow.models.estimator.export import check_receiver
from batchflow.models.estimator.model_fn import call_model_fn, check_model_fn
from batchflow.models.estimator.program import Program, build_in_scope
from batchflow.models.estimator.spec import EstimatorSpec, Modes, ServingInputReceiver


class Programs:
    """Makes programs.

    Args:
        model_fn: The model function.
        params: Its hyperparameters. They are copied.

    Attributes:
        config: The settings of the Estimator, with its folder. To be set before programs are made.

    Raises:
        ArgumentValueError: (a `ValueError`) The parameters of `model_fn` do not fit.
        ArgumentTypeError: (a `TypeError`) `params` is no dictionary.
    """

    config: RunConfig

    def __init__(
        self, model_fn: Callable[..., Any] | None, params: Mapping[str, Any] | None
    ) -> None:
        if params is not None and not isinstance(params, Mapping):
            raise ArgumentTypeError(
                f"Estimator: params is a dictionary, got {type(params).__name__}"
            )
        self._names = check_model_fn(model_fn, params)
        self._model_fn: Any = model_fn
        self._params = copy.deepcopy(dict(params or {}))

    @property
    def params(self) -> dict[str, Any]:
        """A copy of the hyperparameters."""
        return copy.deepcopy(self._params)

    def builder(
        self, mode: Modes, then: Callable[[Program], object] = lambda _: None
    ) -> Callable[[Signature], Program]:
        """Return the function that makes a program of a mode, and calls `then` with it."""

        def build(signature: Signature) -> Program:
            make_spec = functools.partial(self._spec, mode)
            program = Program.build(make_spec, signature, self.config.tf_random_seed)
            program.summary_dir = self.config.model_dir
            then(program)
            return program

        return build

    def served(
        self, receiver_fn: Callable[[], ServingInputReceiver]
    ) -> tuple[Program, ServingInputReceiver]:
        """Return a program whose features a receiver computes, and the receiver."""

        def build() -> tuple[Program, ServingInputReceiver]:
            receiver = check_receiver(receiver_fn())
            spec = self._spec(Modes.PREDICT, Batch(receiver.features))
            return Program.of_receiver(spec, receiver), receiver

        made: tuple[Program, ServingInputReceiver]
        made = build_in_scope(build, self.config.tf_random_seed)
        return made

    def _spec(self, mode: Modes, inputs: Batch) -> EstimatorSpec:
        values = {
            **inputs._asdict(),
            "mode": mode,
            "params": self.params,
            "config": self.config,
            "model_dir": self.config.model_dir,
        }
        return call_model_fn(self._model_fn, self._names, values)

    def __repr__(self) -> str:
        return getattr(self._model_fn, "__name__", type(self._model_fn).__name__)
