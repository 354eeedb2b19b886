"""The step on torch: the model's own `train_function`, without waiting for its values.

Only `compile(jit_compile=True)` compiles it, by `torch.compile`.
"""

from __future__ import annotations

import sys
from typing import Any

from batchflow.models.step import Data, Logs, Step


class TorchStep(Step):
    """A step as by `train_on_batch`, without reading the loss from the device."""

    def one(self, data: Data, resets: bool) -> Logs:
        """Do a step on one batch."""
        model = self.model
        model._symbolic_build(data_batch=tuple(data))
        if resets:
            model.reset_metrics()
        logs = model.train_function([tuple(data)])
        # A metric may give its variable's own tensor, which the next step changes in place.
        return self._values(sys.modules["keras"].tree.map_structure(_copied, logs))


def _copied(value: Any) -> Any:
    return value.detach().clone() if hasattr(value, "detach") else value
