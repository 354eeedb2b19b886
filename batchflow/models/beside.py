"""What the files of models leave out, and the next batch depends on.

of Keras and `tf_keras`   the running values of metrics; of `tf_keras` random states, too
modules of torch          gradients, which parameters learn, which modules are in training mode
a `TorchModel`            that of its modules, and the attributes of a subclass that are data
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.models.state_kinds import is_constant, is_data
from batchflow.models.state_puts import assign

# What every `TorchModel` has; a subclass may have more.
_OWN = {"module", "loss", "metrics", "optimizer", "_random", "_first", "_drawn_at", "_unread"}


def written(model: Any, encode: Callable[[Any, str], Any], where: str) -> dict[str, Any]:
    """Return it as data.

    Args:
        model: The model.
        encode: Makes data of a value; the second argument is what the value is.
        where: What the model is, for messages.
    """
    if (is_old := _is_of("tf_keras", "Model", model)) or _is_of("keras", "Model", model):
        return _of_keras(model, encode, where, is_old=is_old)
    if _is_of("torch", "nn.Module", model):
        return {"modules": encode(_facts({"": model}), f"the gradients of {where}")}
    if _is_of("batchflow.models.torch_model.model", "TorchModel", model):
        return _of_torch_model(model, encode, where)
    return {}


def put(model: Any, entry: Mapping[str, Any], decode: Callable[[Any], Any], where: str) -> None:
    """Put it into a model.

    Args:
        model: The model.
        entry: What `written` has returned, among others.
        decode: Makes a value of data.
        where: What the model is, for messages.

    Raises:
        ArgumentValueError: (a `ValueError`) It does not fit.
    """
    if "attributes" in entry:
        vars(model).update(decode(entry["attributes"]))
    if "modules" in entry:
        is_module = _is_of("torch", "nn.Module", model)
        _put_facts({"": model} if is_module else _modules_of(model), decode(entry["modules"]))
    if "random" in entry:
        from batchflow.models import tf_keras_state

        assign(tf_keras_state.random_states(model), decode(entry["random"]), where)
    if "metrics" in entry:
        from batchflow.models import keras_metrics

        keras_metrics.put(model, decode(entry["metrics"]))
    for layer, learns in zip(_layers_of(model), entry.get("trainable", ()), strict=False):
        if layer.trainable != learns:
            layer.trainable = learns


def _is_of(module: str, name: str, model: Any) -> bool:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(model, found)


# ---- Keras


def _of_keras(
    model: Any, encode: Callable[[Any, str], Any], where: str, *, is_old: bool
) -> dict[str, Any]:
    from batchflow.models import keras_metrics, tf_keras_state  # on use

    entry = {"metrics": encode(keras_metrics.values_of(model), where)}
    if is_old:
        tf_keras_state.warn_of_random_layers(model, where)
        states = [one.numpy() for one in tf_keras_state.random_states(model)]
        entry["random"] = encode(states, where)
    elif sys.modules["keras"].backend.backend() == "torch":
        # On other backends it counts when the step is compiled, and changes nothing afterwards.
        entry["trainable"] = [bool(layer.trainable) for layer in _layers_of(model)]
    return entry


def _layers_of(model: Any) -> list[Any]:
    return [*model._flatten_layers()] if hasattr(model, "_flatten_layers") else []


# ---- torch


def _of_torch_model(model: Any, encode: Callable[[Any, str], Any], where: str) -> dict[str, Any]:
    from batchflow.models.torch_model import state  # on use: torch is loaded
    from batchflow.models.torch_model.model import TorchModel

    gathers = type(model).update is not TorchModel.update  # that one clears them ahead of each step
    facts = _facts(_modules_of(model), gradients=gathers)
    entry = {"modules": encode(facts, f"the gradients of {where}")}
    if type(model) is TorchModel:
        return entry
    parts = {name.partition(".")[0] for name in state.parts_of(model)}
    attributes = {}
    for name, value in vars(model).items():
        if is_data(value) and name not in _OWN:
            attributes[name] = value
        elif name not in parts | _OWN and not is_constant(value):
            warnings.warn(
                f"the attribute {name!r} of {where} cannot be saved: a resumed run begins with it "
                "anew. Let it be data, or give it state_dict() and load_state_dict(state)",
                stacklevel=2,
            )
    return entry | {"attributes": encode(attributes, f"the attributes of {where}")}


def _modules_of(model: Any) -> dict[str, Any]:
    from batchflow.models.torch_model import state

    parts = state.parts_of(model)
    return {name: part for name, part in parts.items() if _is_of("torch", "nn.Module", part)}


def _facts(modules: Mapping[str, Any], *, gradients: bool = True) -> dict[str, Any]:
    return {
        name: {
            "gradients": [one.grad if gradients else None for one in module.parameters()],
            "learns": [one.requires_grad for one in module.parameters()],
            "training": [one.training for one in module.modules()],
        }
        for name, module in modules.items()
    }


def _put_facts(modules: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name, module in modules.items():
        facts, parameters = found[name], list(module.parameters())
        for one, gradient, learns in zip(
            parameters, facts["gradients"], facts["learns"], strict=True
        ):
            one.grad = None if gradient is None else gradient.to(one.device)
            one.requires_grad_(learns)
        for one, is_training in zip(module.modules(), facts["training"], strict=True):
            one.training = is_training
