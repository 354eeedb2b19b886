"""The state of a torch model: what its next training step depends on, and its file.

The file is that of `torch.save`, which `torch.load(path, weights_only=True)` opens too.

Guarantees:
    - *Safe*: nothing in a file is executed, and nothing is unpacked to more than its size on disk.
    - *Readable*: what is saved can be read. It is checked when it is saved.
    - *All or nothing*: a state that does not fit changes nothing.
"""

from __future__ import annotations

import copy
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError
from batchflow.files import replacing
from batchflow.models.state_file import reading

_FORMAT, _VERSION = "batchflow_torch_model", 1


def parts_of(model: Any) -> dict[str, Any]:
    """Return what a model has that has a state: attributes with `state_dict` and the like.

    So a scheduler, or a scaler of gradients, that was put beside the optimizer is one of them. What
    has an empty state, such as most losses, is left out. A module that `torch.compile` has wrapped
    is the module inside: its state fits the model with and without.

    Returns:
        The parts by the names of their attributes; those of a tuple or list by `"name.0"`.
    """
    found = {}
    for name, value in vars(model).items():
        several = value if isinstance(value, tuple | list) else ()
        for key, part in [(name, value), *((f"{name}.{n}", one) for n, one in enumerate(several))]:
            part = getattr(part, "_orig_mod", part)
            is_one = hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
            if is_one and part.state_dict():
                found[key] = part
    return found


def state_of(parts: Mapping[str, Any], random: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a model.

    Raises:
        ArgumentTypeError: (a `TypeError`) A part has a state that is more than tensors and plain
            values.
    """
    return {
        _FORMAT: _VERSION,
        "kinds": {name: type(part).__name__ for name, part in parts.items()},
        "parts": {name: plain(part.state_dict(), name) for name, part in parts.items()},
        "random": dict(random),
    }


def plain(value: Any, where: str) -> Any:
    """Return a value as what can be read without executing code."""
    torch = sys.modules["torch"]
    if torch.is_tensor(value):
        if torch.nn.parameter.is_lazy(value):
            raise ArgumentValueError(
                f"{where} has no shape yet: call the module on a batch first, so that it is made"
            )
        return value.detach()
    if isinstance(value, np.generic):
        return value.item()
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, Mapping):
        return {key: plain(part, f"{where}[{key!r}]") for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [plain(part, f"{where}[{n}]") for n, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    raise ArgumentTypeError(
        f"{where} is a {type(value).__name__}, which cannot be saved so that it is safe to read: "
        "states are tensors, numbers, texts, and lists, tuples and mappings of these"
    )


def copied(state: Any) -> Any:
    """Return a copy of a state in memory, which the next training step does not change.

    What shares memory, such as tied weights, shares it in the copy, too.
    """
    return copy.deepcopy(_on_cpu(state))


def _on_cpu(value: Any) -> Any:
    if sys.modules["torch"].is_tensor(value):
        return value.cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_on_cpu, value))
    return value


def write(file: str, state: Mapping[str, Any]) -> None:
    """Save a state, as a whole."""
    with replacing(file) as temporary, open(temporary, "xb") as stream:
        sys.modules["torch"].save(state, stream)


def read(file: str) -> Any:
    """Return the state that a file holds, all of it on the CPU.

    Raises:
        ArgumentValueError: (a `ValueError`) The file is damaged, or no state of a torch model.
    """
    with reading(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ArgumentValueError(f"{file} is compressed, as torch never does it")
        sizes = {entry.file_size for entry in archive.infolist()}
    try:
        state = sys.modules["torch"].load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ArgumentValueError(
            f"{file} is damaged, or holds more than tensors and plain values: it is not read, as "
            "that could execute code"
        ) from error
    _check_sizes(state, sizes, file)
    if not isinstance(state, dict) or _FORMAT not in state:
        raise ArgumentValueError(
            f"{file} is no state of a TorchModel that batchflow has saved. Another state is loaded "
            "by model.module.load_state_dict(torch.load(path, weights_only=True))"
        )
    return state


def _check_sizes(value: Any, sizes: set[int], file: str) -> None:
    """Refuse tensors that claim more memory than any entry of their file has."""
    if sys.modules["torch"].is_tensor(value):
        if value.untyped_storage().nbytes() not in sizes:
            raise ArgumentValueError(f"{file} is damaged: a tensor is not as long as its data")
    elif isinstance(value, Mapping):
        for part in value.values():
            _check_sizes(part, sizes, file)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_sizes(part, sizes, file)


def check(state: Any, parts: Mapping[str, Any], where: str) -> None:
    """Check that a state fits the parts of a model.

    Args:
        state: The state.
        parts: The parts.
        where: What the state is, for messages.

    Raises:
        ArgumentValueError: (a `ValueError`) It does not fit.
    """
    try:
        version, kinds, states = state[_FORMAT], state["kinds"], state["parts"]
        if version != _VERSION:
            raise ArgumentValueError(
                f"{where} has the format {version}, and this batchflow reads {_VERSION}: update it"
            )
        for text, some in (
            ("lacks the state of", parts.keys() - states.keys()),
            ("has a state for what the model lacks:", states.keys() - parts.keys()),
        ):
            if some:
                raise ArgumentValueError(f"{where} {text} {', '.join(sorted(some))}")
        for name, part in parts.items():
            if isinstance(part, sys.modules["torch"].nn.Module):
                _check_module(states[name], part.state_dict(), f"{where}: {name}")
            elif kinds[name] != type(part).__name__:
                raise ArgumentValueError(
                    f"{where}: {name} is that of a {kinds[name]}, and the model has a "
                    f"{type(part).__name__}"
                )
            elif hasattr(part, "param_groups") and _groups(states[name]) != _groups(
                part.state_dict()
            ):
                raise ArgumentValueError(
                    f"{where}: {name} is that of other groups of parameters than the model's"
                )
        _check_random(state["random"], where)
    except BatchflowError:
        raise
    except (LookupError, TypeError, AttributeError) as error:
        raise ArgumentValueError(
            f"{where} is damaged or no state of a TorchModel: {error}"
        ) from error


def _groups(state: Any) -> list[int]:
    return [len(group["params"]) for group in state["param_groups"]]


def _check_module(found: Mapping[str, Any], own: Mapping[str, Any], where: str) -> None:
    torch = sys.modules["torch"]
    for text, some in (
        ("lacks", own.keys() - found.keys()),
        ("has, and the model lacks,", found.keys() - own.keys()),
    ):
        if some:
            raise ArgumentValueError(f"{where} {text} {len(some)} tensors, such as {min(some)!r}")
    for name, tensor in own.items():
        if not torch.is_tensor(tensor) or torch.nn.parameter.is_lazy(tensor):
            continue
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ArgumentValueError(
                f"{where}: {name} is {found[name].dtype} of shape {tuple(found[name].shape)}, and "
                f"the model's is {tensor.dtype} of shape {tuple(tensor.shape)}"
            )


def _check_random(random: Mapping[str, Any], where: str) -> None:
    torch = sys.modules["torch"]
    try:
        torch.Generator().set_state(random["cpu"])
    except RuntimeError as error:
        raise ArgumentValueError(f"{where}: the random state is damaged: {error}") from error
