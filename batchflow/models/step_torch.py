"""The step on torch: the model's own `train_function`, whose values nobody waits for.

Nothing is compiled but what `compile(jit_compile=True)` asks `torch.compile` for.
"""

from __future__ import annotations

from batchflow.models.step import Data, Logs, Step

__all__ = ["TorchStep"]


class TorchStep(Step):
    """What `train_on_batch` does, but for reading the loss from the device."""

    def one(self, data: Data, resets: bool) -> Logs:
        """Do a step on one batch."""
        model = self.model
        model._symbolic_build(data_batch=tuple(data))
        if resets:
            model.reset_metrics()
        return self._values(model.train_function([tuple(data)]))
