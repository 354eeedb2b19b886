"""What is given for the optimizer, the loss and the metrics of a torch module, made usable."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean


def made_optimizers(given: Any, module: Any, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """Return the optimizers of a module: none, one, or several that take each step together.

    Args:
        given: An optimizer; a class or a function that makes one of parameters; a name such as
            `"adam"`; a list of these; or None.
        module: The module.
        parameters: All parameters that can be trained.

    Raises:
        ArgumentTypeError: It is none of these.
        ArgumentValueError: There is no such name, or the optimizer has no parameter of the module.
    """
    if given is None:
        return ()
    if isinstance(given, list | tuple):
        return tuple(made for one in given for made in made_optimizers(one, module, parameters))
    if isinstance(given, str):
        given = _optimizer_class(given)
    is_made = not isinstance(given, type) and _is_optimizer(given)
    if not is_made and not callable(given):
        raise ArgumentTypeError(
            "the optimizer of a TorchModel is an optimizer, a class or function that makes one of "
            f'parameters, or a name such as "adam", got {given!r:.60}'
        )
    optimizer = given if is_made else given(parameters)
    if not _is_optimizer(optimizer):
        raise ArgumentTypeError(
            f"the optimizer of a TorchModel: {title_of(given)} gave {optimizer!r:.60}, which is no "
            "optimizer: it has no step() and zero_grad()"
        )
    groups = getattr(optimizer, "param_groups", None)
    known = {id(parameter) for parameter in parameters}
    if groups and known.isdisjoint(id(one) for group in groups for one in group["params"]):
        raise ArgumentValueError(
            f"the optimizer {title_of(optimizer)} has no parameter of the module "
            f"{title_of(module)}, and would never change it: make it of this module's parameters, "
            "or give its class"
        )
    return (optimizer,)


def _is_optimizer(value: Any) -> bool:
    return hasattr(value, "step") and hasattr(value, "zero_grad")


def _optimizer_class(name: str) -> Any:
    optim = sys.modules["torch"].optim
    classes = {
        key.lower(): value
        for key, value in vars(optim).items()
        if isinstance(value, type)
        and issubclass(value, optim.Optimizer)
        and value is not optim.Optimizer
    }
    return _by_name(classes, name, "optimizer")


def made_loss(given: Any) -> Any:
    """Return a function of outputs and targets that gives the loss.

    Args:
        given: That function; a module; a class of modules; a name such as `"cross_entropy"` or
            `"MSELoss"`; or None.

    Raises:
        ArgumentTypeError: It is none of these.
        ArgumentValueError: There is no such name.
    """
    if isinstance(given, str):
        given = _loss_by_name(given)
    if isinstance(given, type):
        given = given()
    if given is not None and not callable(given):
        raise ArgumentTypeError(
            "the loss of a TorchModel is a function of the outputs and the targets, a module, or "
            f'a name such as "cross_entropy", got {given!r:.60}'
        )
    return given


def _loss_by_name(name: str) -> Any:
    nn = sys.modules["torch"].nn
    known = {key: value for key, value in vars(nn).items() if key.endswith("Loss")}
    for key, value in vars(nn.functional).items():
        if callable(value) and (key.endswith("_loss") or "cross_entropy" in key):
            if key.startswith("_"):
                continue
            known |= {key: value, key.removesuffix("_loss"): value}
    return _by_name(known, name, "loss")


def _by_name(known: Mapping[str, Any], name: str, what: str) -> Any:
    found = known.get(name) or known.get(name.lower())
    if found is None:
        raise ArgumentValueError(
            f"torch has no {what} {name!r}.{did_you_mean(name, known)} A class or a function is "
            "taken as well"
        )
    return found


def named_metrics(given: Any) -> dict[str, Callable[..., Any]]:
    """Return functions of outputs and targets by name.

    Args:
        given: A mapping, a list of functions with names, or None.

    Raises:
        ArgumentTypeError: It is none of these.
        ArgumentValueError: A name is `"loss"`, or there twice.
    """
    if given is None:
        return {}
    pairs = (
        [*given.items()]
        if isinstance(given, Mapping)
        else [
            (title_of(one), one) for one in (given if isinstance(given, list | tuple) else [given])
        ]
    )
    metrics = dict(pairs)
    if "loss" in metrics or len(metrics) < len(pairs):
        raise ArgumentValueError(
            f"the metrics of a TorchModel have names of their own, and none is 'loss', got "
            f"{', '.join(str(name) for name, _ in pairs)}: give them as a mapping"
        )
    for name, metric in metrics.items():
        if not isinstance(name, str) or not callable(metric):
            raise ArgumentTypeError(
                "the metrics of a TorchModel are functions of the outputs and the targets by name, "
                f'{{"accuracy": function}}, got {name!r}: {metric!r:.60}'
            )
    return metrics


def title_of(value: Any) -> str:
    """Return the name of a function or class, or that of an object's class."""
    value = getattr(value, "_orig_mod", value)  # of what torch.compile has made
    return str(getattr(value, "__name__", type(value).__name__))
