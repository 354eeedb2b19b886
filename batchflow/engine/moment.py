"""What stands for the batch where there is none: before the first one and after the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchflow.errors import UnknownAttributeError

__all__ = ["Moment"]

# Spawn key word of these generators; orders use 0 and batches 1.
_MOMENT_KEY = 2


class Moment:
    """A moment of a run, in which steps without a batch are taken.

    Expressions find here what they find in a batch, as far as it is there: the pipeline, its
    config and variables, the dataset, and a generator.

    Args:
        pipeline: The pipeline.
        dataset: Its dataset, or None.
        rng_key: What its randomness is derived from; None: the operating system.
    """

    number = None
    epoch = None
    index = None

    def __init__(self, pipeline: Any, dataset: Any, rng_key: tuple[int, ...] | None) -> None:
        self.pipeline = pipeline
        self.dataset = dataset
        self._rng_key = rng_key
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """A random generator: in a run, a function of its seed."""
        if self._rng is None:
            sequence = np.random.SeedSequence()
            if self._rng_key is not None:
                seed, *path = self._rng_key
                sequence = np.random.SeedSequence(seed, spawn_key=(_MOMENT_KEY, *path))
            self._rng = np.random.Generator(np.random.PCG64(sequence))
        return self._rng

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UnknownAttributeError(
            f"there is no batch here, so it has no {name!r}: before the first batch and after the "
            "last, expressions with V, C, D, F, L and R have values, those with B have none"
        )

    def __len__(self) -> int:
        raise UnknownAttributeError("there is no batch here, so it has no length")

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "<no batch>"
