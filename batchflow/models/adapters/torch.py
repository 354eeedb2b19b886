"""torch modules: called in evaluation mode; trained by no word of their own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.models.adapters.base import Fetches
from batchflow.models.adapters.objects import ObjectAdapter

__all__ = ["TorchAdapter"]


class TorchAdapter(ObjectAdapter):
    """A `torch.nn.Module`. One with a method `predict` predicts by that, as any object does."""

    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:  # noqa: ARG002
        """Refuse."""
        raise ArgumentTypeError(
            f"{self.title} is a torch module: its train() is a switch, not a training step. "
            "Write the step in an @action(model=..., singleton=True), or wrap the module in an "
            "object with a method train(...) that does the step"
        )

    def _call_model(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        torch, module = sys.modules["torch"], self.model
        parameter = next(module.parameters(), None)

        def tensor(value: Any) -> Any:
            is_array = hasattr(value, "__array__") and hasattr(value, "dtype")
            if not is_array or torch.is_tensor(value):
                return value
            made = torch.tensor(value)  # a copy: an array may be read-only
            if parameter is None:
                return made
            return made.to(
                device=parameter.device,
                dtype=parameter.dtype if made.is_floating_point() else None,
            )

        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            with torch.no_grad():
                outputs = module(*map(tensor, args), **{k: tensor(v) for k, v in kwargs.items()})
        finally:
            for part, mode in modes:
                part.training = mode
        return _to_numpy(outputs)


def _to_numpy(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _to_numpy(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_to_numpy(value) for value in outputs]
    return outputs.detach().cpu().numpy() if hasattr(outputs, "detach") else outputs
