"""Model systems. They know no batches; each framework is imported only when it is used."""

from batchflow.models.calls import train_step, train_steps
from batchflow.models.lazy import LazyValue

__all__ = ["LazyValue", "train_step", "train_steps"]
