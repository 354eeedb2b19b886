"""Estimators: trained, asked and tested on one batch, by the program in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.models.adapters.base import Fetches
from batchflow.models.adapters.objects import ObjectAdapter


class EstimatorAdapter(ObjectAdapter):
    """A `batchflow.models.Estimator`: `train_on_batch`, `predict_on_batch`, `test_on_batch`."""

    needs_order = True

    @property
    def title(self) -> str:
        """The name of the model in messages."""
        return f"the Estimator in {self.model.model_dir}"

    def predict(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call `predict_on_batch`: one array, or one for each name."""
        return self._call(self.model.predict_on_batch, args, kwargs, fetches)

    def watch(self) -> Callable[[bool], None]:
        """Let the Estimator end its steps, as `train` ends, with the run that has done them."""
        end: Callable[[bool], None] = self.model.watch_run()
        return end
