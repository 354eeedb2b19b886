"""Words for loops around epochs: when to stop, and which weights to go back to.

for epoch in run.epochs():
deque(epoch, maxlen=0)              train
score = test()
best.keep(score)                    the models as they are, if the score is the best so far
if stopping.is_over(score):
break
best.restore()
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from typing import Any

from batchflow.checkpoints.values import Decoder, Encoder
from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError

__all__ = ["EarlyStopping", "KeepBest"]


class _Scored:
    """Knows the best score so far."""

    def __init__(self, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("min", "max"):
            raise ArgumentValueError(f'mode is "min" or "max", got {mode!r:.60}')
        self._best: float | None = None
        self._sign = 1.0 if mode == "min" else -1.0
        self._min_delta = abs(_number("min_delta", min_delta))

    @property
    def best(self) -> float | None:
        """The best score so far; None: there was none."""
        return self._best

    def _improves(self, score: Any) -> bool:
        """Record a score, and tell whether it is the best so far. NaN is none."""
        value = _number("a score", score)
        before = math.inf if self._best is None else self._sign * self._best - self._min_delta
        is_better = self._sign * value < before  # NaN never is
        if is_better:
            self._best = value
        return is_better


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"{name} is a number, got {value!r:.60}") from None


class EarlyStopping(_Scored):
    """Tells when a score has not become better for some epochs.

    Args:
        patience: For how many.
        mode: `"min"`: less is better; `"max"`: more is.
        min_delta: By how much a score must be better to count.

    Example:
        >>> from batchflow.loops import EarlyStopping
        >>> stopping = EarlyStopping(patience=2)
        >>> [stopping.is_over(loss) for loss in (3.0, 2.0, 2.5, 2.0)]
        [False, False, False, True]
    """

    def __init__(self, patience: int, mode: str = "min", min_delta: float = 0.0) -> None:
        self.patience = checked_count("patience", patience)
        super().__init__(mode, min_delta)
        self.n_waited = 0

    def is_over(self, score: Any) -> bool:
        """Record the score of an epoch, and tell whether it is time to stop."""
        self.n_waited = 0 if self._improves(score) else self.n_waited + 1
        return self.n_waited >= self.patience

    def get_state(self) -> dict[str, Any]:
        """Return what a run that goes on needs: it can be a variable or a model."""
        return {"best": self._best, "n_waited": self.n_waited}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._best, self.n_waited = state["best"], state["n_waited"]


class KeepBest(_Scored):
    """Keeps the states of models at the best score, and puts them back.

    Args:
        pipeline: The pipeline whose models they are.
        names: Their names.
        mode: `"min"`: less is better; `"max"`: more is.

    Raises:
        ArgumentTypeError: No model is named.
    """

    def __init__(self, pipeline: Any, *names: str, mode: str = "min") -> None:
        if not names or not all(isinstance(name, str) for name in names):
            raise ArgumentTypeError(f"KeepBest takes the names of models, got {names!r:.60}")
        super().__init__(mode)
        self._pipeline, self._names = pipeline, names
        self._kept: tuple[str, list[Any], dict[str, Any]] | None = None

    def keep(self, score: Any) -> bool:
        """Record a score; if it is the best so far, keep the models as they are now.

        Returns:
            Whether it is.
        """
        if not self._improves(score):
            return False
        from batchflow.models.states import Writing

        folder, arrays = tempfile.mkdtemp(prefix="batchflow-best-"), {}  # type: ignore[var-annotated]
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        writing = Writing(folder, Encoder(arrays))
        entries = [
            writing.write(self._pipeline.m(name), f"model{place}", f"the model {name!r}")
            for place, name in enumerate(self._names)
        ]
        if self._kept is not None and os.path.isdir(self._kept[0]):
            shutil.rmtree(self._kept[0], ignore_errors=True)
        self._kept = folder, entries, arrays
        return True

    def restore(self) -> None:
        """Put the models back as they were at the best score.

        Raises:
            BatchflowError: None was kept.
        """
        if self._kept is None:
            raise BatchflowError("KeepBest.restore: no score was kept yet")
        from batchflow.models.states import Reading

        folder, entries, arrays = self._kept
        copies = {name: array.copy() for name, array in arrays.items()}
        reading = Reading(folder, Decoder(entries, copies))
        for place, (name, entry) in enumerate(zip(self._names, entries, strict=True)):
            model = self._pipeline.m(name)
            reading.put(model, entry, f"model{place}", f"the model {name!r}")
