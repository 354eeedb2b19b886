"""Models made by a builder and a config."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.errors import (
    ArgumentTypeError,
    ModelDefinitionError,
    add_note_once,
    did_you_mean,
)
from batchflow.models.adapters import adapter_of
from batchflow.models.adapters.base import signature_of

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_builder(value: Any) -> bool:
    """Check whether a value makes a model when it is called; otherwise it is the model itself."""
    return inspect.isroutine(value) or isinstance(value, type | functools.partial)


def build(builder: Any, config: Mapping[str, Any] | None = None, batch: Any = None) -> Any:
    """Return the model that a builder makes.

    Args:
        builder: A class, function, method or `functools.partial`, which is called. Anything else is
            the model itself, even if it can be called, as a Keras model can.
        config: Settings for the builder. They are passed as `config=` if it has a parameter of that
            name, and otherwise each as an argument of its own.
        batch: The first batch, if there is one. It is passed to a builder with a parameter `batch`.

    Returns:
        The result of the builder, or the builder itself.

    Raises:
        ArgumentTypeError: (a `TypeError`) The config does not fit the builder, or there is no
            builder to take it.
        ModelDefinitionError: (a `TypeError`) The builder needs a batch, and there is none.

    Example:
        >>> build(lambda units, rate=0.1: {"units": units, "rate": rate}, {"units": 64})
        {'units': 64, 'rate': 0.1}
        >>> build(lambda config: config["units"], {"units": 64})
        64
    """
    if config is not None and not isinstance(config, Mapping):
        raise ArgumentTypeError(f"the config of a model is a mapping, got {config!r:.60}")
    if not is_builder(builder):
        if config is not None:
            raise ArgumentTypeError(
                f"{title(builder)} is no class and no function, so it is the model itself, and "
                f"there is nothing that config={dict(config)!r:.60} could go to. Leave the config "
                "out, or give what makes the model"
            )
        return builder
    signature = signature_of(builder)
    by_name = {
        name
        for name, parameter in (signature.parameters if signature else {}).items()
        if parameter.kind in _BY_NAME
    }
    arguments: dict[str, Any] = {}
    if config is not None:
        arguments = {"config": config} if "config" in by_name else dict(config)
    if batch is not None and "batch" in by_name:
        if "batch" in arguments:
            raise ArgumentTypeError(
                f"{title(builder)} gets the first batch as batch=..., so the config cannot have "
                "an entry 'batch'"
            )
        arguments["batch"] = batch
    if signature is not None:
        _check(builder, signature, by_name, arguments)
    try:
        return builder(**arguments)
    except Exception as error:
        if config and "config" in by_name and set(config) <= by_name:
            add_note_once(error, _note_on_config(builder, list(config)))
        raise


def _note_on_config(builder: Callable[..., Any], names: list[str]) -> str:
    return (
        f"{title(builder)} has a parameter 'config', and so the config of the model is passed as "
        f"that one. To pass its entries ({', '.join(names)}) give the builder "
        f"functools.partial({title(builder)}, {names[0]}=...), and no config"
    )


def _check(
    builder: Callable[..., Any],
    signature: inspect.Signature,
    by_name: set[str],
    arguments: Mapping[str, Any],
) -> None:
    """Refuse arguments that do not fit the builder, before it is called."""
    called = f"{title(builder)}{signature}"
    parameters = signature.parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    unknown = [name for name in arguments if name not in by_name]
    if unknown and not takes_any:
        raise ArgumentTypeError(
            f"{called} has no {', '.join(map(repr, unknown))}, which the config of the model gives."
            + did_you_mean(unknown[0], by_name, only_near=True)
        )
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in arguments
    ]
    if "batch" in needed:
        raise ModelDefinitionError(
            f"{called} needs a batch, but a static model is made before the first batch: init it "
            'with mode="dynamic"'
        )
    if needed:
        raise ArgumentTypeError(
            f"{called} needs {', '.join(map(repr, needed))}: give it in the model's config"
        )


def title(value: Any) -> str:
    """Return the name of a builder or a model for messages."""
    return adapter_of(value).title
