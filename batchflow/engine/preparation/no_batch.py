"""A stand-in for the batch where there is none: before the first one and after the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchflow.errors import UnknownAttributeError
from batchflow.index.order import keyed_rng

# Spawn key word of these generators; orders use 0 and batches 1.
_MOMENT_KEY = 2


class NoBatch:
    """A moment of a run, in which steps without a batch are taken.

    Expressions find here what they find in a batch, as far as it is there: the pipeline, its
    config and variables, the dataset, and a generator.

    Args:
        pipeline: The pipeline.
        dataset: Its dataset, or None.
        rng_key: The key of its randomness; None: the operating system seeds it.
    """

    number = None
    epoch = None
    index = None
    _rng: np.random.Generator | None
    _rng_key: tuple[int, ...] | None
    pipeline: Any
    dataset: Any

    def __init__(self, pipeline: Any, dataset: Any, rng_key: tuple[int, ...] | None) -> None:
        self.__dict__.update(pipeline=pipeline, dataset=dataset, _rng_key=rng_key, _rng=None)

    @property
    def rng(self) -> np.random.Generator:
        """A random generator: in a run, a function of its seed."""
        if self._rng is None:
            seed, *path = self._rng_key or (None,)
            self.__dict__["_rng"] = keyed_rng(seed, _MOMENT_KEY, *path)
        rng: Any = self._rng
        return rng  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UnknownAttributeError(
            f"there is no batch here, so it has no {name!r}: before the first batch and after the "
            "last, expressions with V, C, D, F, L and R have values, those with B have none"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        raise UnknownAttributeError(
            f"there is no batch here, in which {name!r} could be stored; store to a variable: "
            f"V({name!r})"
        )

    def __len__(self) -> int:
        raise UnknownAttributeError("there is no batch here, so it has no length")

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "<no batch>"
