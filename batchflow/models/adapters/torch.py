"""torch modules: with what trains them, as a `TorchModel`; alone they are only asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.models.adapters.base import Fetches
from batchflow.models.adapters.objects import TESTS, ObjectAdapter
from batchflow.models.torch_model import state
from batchflow.models.torch_model.model import TorchModel
from batchflow.models.torch_model.tensors import Place, to_arrays, to_tensors
from batchflow.models.torch_model.turns import asked


class _OfTorch(ObjectAdapter):
    needs_order = True

    def shares_state(self, other: Any) -> bool:
        """Check whether another model is this one, or has parameters in common with it."""
        return self.model is other or not _parameters(self.model).isdisjoint(_parameters(other))


class TorchModelAdapter(_OfTorch):
    """A `TorchModel`. Its own methods train, evaluate, predict, save and load."""

    @property
    def title(self) -> str:
        """The name of the model in messages."""
        return f"the torch model of {type(self.model.module).__name__}"

    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Do one step of the optimizer."""
        return self.model.train_on_batch(*args, fetches=fetches, **kwargs)

    def snapshot(self) -> Callable[[str], None] | None:
        """Copy the state. A subclass that saves in another way does that at once."""
        if type(self.model).save is not TorchModel.save:
            return None
        copied = state.copied(self.model.state_dict())
        return lambda file: state.write(file, copied)


class ModuleAdapter(_OfTorch):
    """A `torch.nn.Module`. One with a method `predict` predicts by that, as any object does."""

    kind = "torch module"

    def train(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:  # noqa: ARG002
        """Refuse."""
        raise ArgumentTypeError(
            f"{self.title} is a torch module: its train() is a switch, not a training step. "
            + _ADVICE
        )

    def evaluate(self, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches) -> Any:
        """Call the module's own method, if it has one."""
        if any(callable(getattr(self.model, name, None)) for name in TESTS):
            return super().evaluate(args, kwargs, fetches)
        raise ArgumentTypeError(f"{self.title} is a torch module, without a loss. {_ADVICE}")

    def _call_model(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        place = Place.of(self.model)
        with asked(self.model):
            inputs = [to_tensors(value, place) for value in args]
            outputs = self.model(*inputs, **to_tensors(kwargs, place))
        return to_arrays(outputs)


_ADVICE = (
    "Make the model of it and of what trains it, TorchModel(module, torch.optim.Adam, "
    "torch.nn.CrossEntropyLoss()), by from batchflow.models import TorchModel. Or write the step "
    "in an @action(model=..., singleton=True)"
)


def _parameters(model: Any) -> set[int]:
    """Return the ids of the parameters of a module, or of that of a `TorchModel`."""
    parameters = getattr(getattr(model, "module", model), "parameters", None)
    return set(map(id, parameters())) if callable(parameters) else set()
