"""Trees of JAX, such as dataclasses that are registered: their leaves, saved and put back.

The rest of a tree, such as its functions, is that of the tree which the definition has made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.models.state_kinds import is_constant, is_replaced
from batchflow.models.state_puts import misfit


def written(value: Any, encode: Callable[[Any, str], Any], where: str) -> dict[str, Any]:
    """Return the leaves of a tree as data.

    Raises:
        ArgumentTypeError: One of them cannot be saved as data.
    """
    leaves: list[Any] = []
    named, _ = _named_leaves(value)
    for name, leaf in named.items():
        if is_replaced(leaf):
            leaves.append([encode(leaf, f"{where}{name}")])
        elif is_constant(leaf):
            leaves.append(None)
        else:
            raise ArgumentTypeError(
                f"{where}{name} is a {type(leaf).__name__}, which is not saved in a tree of JAX: "
                "hold it beside the tree"
            )
    return {"names": list(named), "leaves": leaves}


def made(here: Any, entry: Mapping[str, Any], decode: Callable[[Any], Any], where: str) -> Any:
    """Return a tree with the leaves that were saved.

    Args:
        here: The tree that the definition has made.
        entry: What `written` has returned.
        decode: Makes a value of data.
        where: What the tree is, for messages.

    Raises:
        ArgumentValueError: It does not fit.
    """
    named, structure = _named_leaves(here)
    if list(named) != entry["names"]:
        raise misfit(where, f"the leaves {_shown(entry['names'])}", _shown(list(named)))
    leaves = [
        leaf if saved is None else decode(saved[0])
        for leaf, saved in zip(named.values(), entry["leaves"], strict=True)
    ]
    return structure.unflatten(leaves)


def _named_leaves(value: Any) -> tuple[dict[str, Any], Any]:
    tree_util = sys.modules["jax"].tree_util
    pairs, structure = tree_util.tree_flatten_with_path(value)
    return {tree_util.keystr(path): leaf for path, leaf in pairs}, structure


def _shown(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
