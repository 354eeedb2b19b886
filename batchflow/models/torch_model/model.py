"""`TorchModel`: a torch module, and what it is trained by."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from typing import Any

from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ModelDefinitionError,
    UnknownNameError,
    add_note_once,
    did_you_mean,
)
from batchflow.extras import imported
from batchflow.files import checked_path
from batchflow.models.step import Unread
from batchflow.models.torch_model import short_step
from batchflow.models.torch_model import state as states
from batchflow.models.torch_model.parts import (
    made_loss,
    made_optimizers,
    named_metrics,
    title_of,
)
from batchflow.models.torch_model.tensors import (
    Place,
    described,
    first_parameter,
    map_nested,
    to_arrays,
    to_tensors,
)
from batchflow.models.torch_model.turns import RandomState, asked, trained


class TorchModel:
    """A torch module with an optimizer, a loss and metrics: a model that a pipeline trains.

    `train_model`, `evaluate_model`, `predict_model`, `save_model` and `load_model` do with it what
    they do with a compiled Keras model. Arrays become tensors on the module's device: floats in the
    dtype of its parameters, whole numbers of the targets as int64. Modes are set around each call,
    and restored. The masks of Dropout and the like come from a random state of the model's own.

    A tuple of inputs is passed to the module one by one, a mapping by name, anything else as one
    argument. The loss is called with the outputs and all that follows the inputs. A subclass does
    more in a step by its `update`: clips gradients, goes on with a scheduler, scales the loss.

    Args:
        module: The `torch.nn.Module`.
        optimizer: An optimizer; a class or a function that makes one of parameters; a name such as
            `"adam"`; a list of these, which take each step together; None: it is not trained.
        loss: A function of the outputs and the targets, a module, or a name such as
            `"cross_entropy"`. It gives one number. None: it is not trained.
        metrics: Functions of the outputs and the targets, by name, or a list of them.
        device: The device to move the module to; None: it stays where it is.

    Attributes:
        module: The module.
        optimizer: The optimizer, or a tuple of several; None if there is none.
        loss: The loss.
        metrics: The metrics by name.

    Example::

        @model()
        def net():
            torch.manual_seed(1)
            layers = torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
            return TorchModel(torch.nn.Sequential(*layers), "adam", "cross_entropy")
    """

    def __init__(
        self, module: Any, optimizer: Any, loss: Any, metrics: Any = None, device: Any = None
    ) -> None:
        torch = imported("torch", "TorchModel")
        if not isinstance(module, torch.nn.Module):
            raise ArgumentTypeError(
                f"the module of a TorchModel is a torch.nn.Module, got {module!r:.60}"
                + (": make one, by calling the class" if isinstance(module, type) else "")
            )
        self.module = module if device is None else module.to(device)
        self.loss = made_loss(loss)
        self.metrics = named_metrics(metrics)
        for part in (self.loss, *self.metrics.values()):
            if isinstance(part, torch.nn.Module):
                part.to(Place.of(module).device)
        optimizers = made_optimizers(optimizer, module, self._parameters())
        self.optimizer = optimizers if len(optimizers) > 1 else next(iter(optimizers), None)
        self._find()
        self._unread = Unread()

    def _parameters(self) -> list[Any]:
        of_loss = getattr(self.loss, "parameters", None)
        return [*self.module.parameters(), *(of_loss() if callable(of_loss) else ())]

    def _find(self, random: Mapping[str, Any] | None = None) -> None:
        """Find out where the module computes, and take on the random states of these devices."""
        tensors = (*self._parameters(), *self.module.buffers())
        self._random = RandomState({tensor.device for tensor in tensors}, random)
        self._first = first_parameter(self.module)
        self._drawn_at = self._place()

    def _place(self) -> Place:
        return Place.at(*self._first)

    @property
    def optimizers(self) -> tuple[Any, ...]:
        """All optimizers."""
        if self.optimizer is None:
            return ()
        return self.optimizer if isinstance(self.optimizer, tuple) else (self.optimizer,)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        *more: Any,
        fetches: Any = None,
        return_dict: bool = False,
        **options: Any,
    ) -> Any:
        """Do one step of the optimizer.

        Args:
            x: The inputs.
            y: The targets. None: the loss gets the outputs alone.
            more: More arguments of the loss, behind the targets.
            fetches: `"loss"`, the name of a metric, or a list of them. Metrics that are not asked
                for are not computed.
            return_dict: Whether to return all values by name.
            options: More arguments of the loss, by name.

        Returns:
            The loss, or the values that `fetches` names: `LazyValue`s, which stay on the device
            until they are read.

        Raises:
            ModelDefinitionError: (a `TypeError`) The model has no optimizer or no loss.
            UnknownNameError: (a `KeyError`) There is no value of that name.
        """
        if self.optimizer is None or self.loss is None:
            lacking = "optimizer" if self.optimizer is None else "loss"
            raise ModelDefinitionError(
                f"the torch module {title_of(self.module)} has no {lacking} to train with: give "
                "TorchModel(module, optimizer, loss) all three"
            )
        names = self._names(fetches, return_dict)
        place = self._place()
        if place is not self._drawn_at:
            self._find(self._random.states)  # the module was moved
        step = self._step, place, names, x, y, more, options
        try:
            logs = trained(self.module, self._random, *step)
        except Exception as error:
            self._note(error, "trained", x, y)
            raise
        return self._chosen(logs, fetches, return_dict)

    def update(self, loss: Any) -> None:
        """Change the module by the gradients of a loss. A subclass may do more, or otherwise."""
        short_step.update(self.optimizers, loss)

    def test_on_batch(
        self, x: Any, y: Any = None, *more: Any, fetches: Any = None, **options: Any
    ) -> Any:
        """Return the loss and the metrics of a batch by name, or those that `fetches` names.

        Args:
            x: The inputs.
            y: The targets, and all else: as for `train_on_batch`.
            more: As there.
            fetches: As there.
            options: As there.

        Raises:
            UnknownNameError: (a `KeyError`) There is no value of that name.
        """
        names, place = self._names(fetches, everything=True), self._place()
        try:
            with asked(self.module):
                outputs, targets, loss = self._forward(place, x, y, more, options)
                logs = self._logs(names, loss, outputs, targets)
        except Exception as error:
            self._note(error, "evaluated", x, y)
            raise
        return self._chosen(logs, fetches, everything=True)

    def predict(self, *inputs: Any, **named: Any) -> Any:
        """Return the outputs for a batch: an array, or a tuple, list or dict of arrays.

        Args:
            inputs: The inputs, as for `train_on_batch`; or several, each an argument of the module.
            named: More arguments of the module.
        """
        given: Any = inputs[0] if len(inputs) == 1 and not named else inputs
        try:
            with asked(self.module):
                return to_arrays(self._outputs(given, Place.of(self.module), **named))
        except Exception as error:
            self._note(error, "asked", given, named or None)
            raise

    # ---- state

    def to(self, device: Any) -> TorchModel:
        """Move the module, the state of the optimizer, the loss and the metrics to a device."""
        before = self._parameters()
        self.module.to(device)
        for part in (self.loss, *self.metrics.values()):
            if callable(getattr(part, "to", None)):
                part.to(device)
        # For some devices torch makes other parameters.
        made = dict(zip(map(id, before), self._parameters(), strict=True))
        for optimizer in self.optimizers:
            state = optimizer.state_dict()
            for group in optimizer.param_groups:
                group["params"] = [made.get(id(one), one) for one in group["params"]]
            optimizer.load_state_dict(state)  # which moves it to where the parameters are
        self._find(self._random.states)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return the state: all that the next training step depends on.

        That is the module, the optimizer, the loss if it is a module, the random state, and every
        attribute that has a `state_dict` and a `load_state_dict`, such as a scheduler. Tensors are
        those of the model: copy them to keep them.

        Raises:
            ArgumentTypeError: (a `TypeError`) A part has a state that cannot be read safely.
        """
        return states.state_of(states.parts_of(self), self._random.states)

    def load_state_dict(self, state: Mapping[str, Any], where: str = "the state") -> None:
        """Take on a state.

        Args:
            state: What `state_dict` has given, of a model of the same parts.
            where: What it is, for messages.

        Raises:
            ArgumentValueError: (a `ValueError`) It does not fit. Nothing is changed.
        """
        parts = states.parts_of(self)
        states.check(state, parts, where)
        others = {
            name: part
            for name, part in parts.items()
            if not isinstance(part, sys.modules["torch"].nn.Module)
        }
        before = copy.deepcopy({name: part.state_dict() for name, part in others.items()})
        for name, part in others.items():
            try:
                part.load_state_dict(copy.deepcopy(state["parts"][name]))
            except Exception as error:
                for other, changed in others.items():
                    changed.load_state_dict(before[other])
                raise ArgumentValueError(f"{where}: {name} does not fit: {error}") from error
        for name in parts.keys() - others.keys():
            parts[name].load_state_dict(state["parts"][name])
        self._find(state["random"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the state to a file: see `batchflow.models.torch_model.state`."""
        states.write(checked_path(path), self.state_dict())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Load a state that `save` has saved. Nothing in the file is executed."""
        file = os.path.realpath(path)
        self.load_state_dict(states.read(file), file)

    def __repr__(self) -> str:
        optimizers = " and ".join(map(title_of, self.optimizers)) or "no optimizer"
        return f"<TorchModel of {title_of(self.module)} with {optimizers}>"

    # ---- inside

    def _step(self, place: Place, names: list[str], *given: Any) -> Any:
        """Do a step on what `_forward` takes, and return the values of these names."""
        outputs, targets, loss = self._forward(place, *given)
        if not loss.requires_grad:
            raise ArgumentValueError(
                f"the loss {title_of(self.loss)} depends on no parameter that can be trained: all "
                "are frozen, or it works on detached values"
            )
        self.update(loss)
        return self._logs(names, loss, outputs, targets)

    def _outputs(self, x: Any, place: Place, **named: Any) -> Any:
        inputs = to_tensors(x, place)
        if named:
            named = to_tensors(named, place)
        if isinstance(inputs, Mapping):
            return self.module(**inputs, **named)
        if isinstance(inputs, tuple):
            return self.module(*inputs, **named)
        return self.module(inputs, **named)

    def _forward(
        self, place: Place, x: Any, y: Any, more: Any, options: Any
    ) -> tuple[Any, list[Any], Any]:
        """Return the outputs, the targets, of which metrics get the first, and the loss."""
        outputs, loss = self._outputs(x, place), None
        given = (y, *more) if more or y is not None else ()
        targets = [to_tensors(one, place, are_targets=True) for one in given]
        if self.loss is not None:
            more = to_tensors(options, place) if options else {}
            loss = self._checked(self.loss(outputs, *targets, **more))
        return outputs, targets[:1], loss

    def _checked(self, loss: Any) -> Any:
        """Return a loss, if it is one number."""
        if not sys.modules["torch"].is_tensor(loss):
            raise ArgumentTypeError(
                f"the loss {title_of(self.loss)} gave {described(loss)}: it gives one number, as a "
                "tensor"
            )
        if loss.numel() != 1:
            raise ArgumentValueError(
                f"the loss {title_of(self.loss)} gave {loss.numel()} numbers, of shape "
                f'{tuple(loss.shape)}: it gives one. Leave reduction="none" out, or take the mean: '
                "lambda outputs, y: loss(outputs, y).mean()"
            )
        return loss

    def _names(self, fetches: Any, everything: bool) -> list[str]:
        """Return the names of the values to compute."""
        own = [*(["loss"] if self.loss is not None else []), *self.metrics]
        if fetches is None:
            return own if everything else ["loss"]
        names = list(fetches) if isinstance(fetches, list | tuple) else [fetches]
        for name in names:
            if name not in own:
                raise UnknownNameError(
                    f"the torch module {title_of(self.module)} gives no {name!r}: it is given "
                    f"neither as the loss nor among the metrics.{did_you_mean(name, own)}"
                )
        return names

    def _logs(self, names: list[str], loss: Any, outputs: Any, targets: list[Any]) -> Any:
        values: dict[str, Any] = {}
        if "loss" in names:
            values["loss"] = loss.detach().reshape(()) if loss.ndim else loss.detach()
        if len(values) < len(names):
            torch = sys.modules["torch"]
            outputs = map_nested(lambda one: one.detach() if torch.is_tensor(one) else one, outputs)
            with torch.no_grad():
                for name in names:
                    if name != "loss":
                        values[name] = _kept(self.metrics[name](outputs, *targets))
        return self._unread.kept(values)

    def _chosen(self, logs: Any, fetches: Any, everything: bool) -> Any:
        if fetches is None:
            return logs if everything else logs["loss"]
        return (
            [logs[name] for name in fetches] if isinstance(fetches, list | tuple) else logs[fetches]
        )

    def _note(self, error: Exception, verb: str, x: Any, y: Any) -> None:
        """Tell in an error what the module got."""
        place, second = Place.of(self.module), "" if y is None else f" and {described(y)}"
        add_note_once(
            error,
            f"while the torch module {title_of(self.module)} was {verb} on {described(x)}{second}; "
            f"its parameters are {place.dtype} on {place.device}",
        )


def _kept(value: Any) -> Any:
    """Return a value of a metric as its own: a metric may give the sum to which it adds next."""
    if not sys.modules["torch"].is_tensor(value):
        return value
    return value.detach().clone().reshape(()) if value.numel() == 1 else to_arrays(value)
