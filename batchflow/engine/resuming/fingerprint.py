"""What must be the same where a run goes on: its data, its order, its steps; as short hashes.

Free to change are the parallelism (`prefetch`, `n_workers`, `executor`), the end (`n_epochs`,
`n_iters`), and where the data lies. The code of actions cannot be compared surely: that it is
another one is told by a warning.
"""

from __future__ import annotations

import hashlib
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from batchflow.engine.graph import RunGraph, graphs_in
from batchflow.index import DatasetIndex
from batchflow.index.order import CustomOrder, DescribedOrder
from batchflow.index.ranges import Ranges
from batchflow.plan import Chance, Step
from batchflow.plan.expressions import Expression, shown

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_ARRAY = 16  # characters of a hash
_LONG = 60  # characters of a text that are shown


def fingerprint_of(graph: RunGraph) -> dict[str, Any]:
    """Return what a run is, as a mapping for JSON. It is found out once."""
    if graph.fingerprint is None:
        graph.fingerprint = _fingerprint(graph)
    return graph.fingerprint


def custom_order(graph: RunGraph) -> CustomOrder | None:
    """Return the order of a run that a function gives; None: it has another."""
    order: Any = graph.schedule.order
    order = getattr(order, "whole", order)
    return order if isinstance(order, CustomOrder) else None


def _fingerprint(graph: RunGraph) -> dict[str, Any]:
    options: Any = graph.options
    source: Any = graph.program.source
    shard = source.shard_spec
    mixture = getattr(source, "_mixture", None)
    mixed: dict[str, Any] = {}
    if mixture is not None:
        mixed = {"weights": _short(repr([*mixture.shares.of_rest])), "n": len(source)}
    return {
        "batch_size": options.batch_size,
        "drop_last": options.drop_last,
        "first_epoch": options.first_epoch,
        "seed": graph.seed,
        "shuffle": _order(graph.shuffle),
        "shard": None if shard is None else list(shard)[:2],
        "n_items": len(source.index),
        "index": index_hash(source.index),
        "steps": _short("\n".join(steps_of(graph))),
        **mixed,
    }


def differences(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return what differs, in words."""
    names = {"index": "the ids of the dataset", "steps": "the steps or their arguments"}
    return [
        f"{names[name]} are others" if name in names else f"{name} was {value!r}, and is {new!r}"
        for name, value in saved.items()
        if (new := here.get(name)) != value
    ]


def steps_of(graph: RunGraph) -> list[str]:
    """Return the steps of a run and of the pipelines inside of it, one text each. Made once."""
    if graph.step_texts is not None:
        return graph.step_texts
    lines = graph.step_texts = []
    for path, inner in graphs_in(graph):
        lines += [f"{path} {_text(bound.step)}" for bound in inner.program.plan.steps]
    return lines


def code_hash(graph: RunGraph) -> str:
    """Return a hash of the code of all actions."""
    plans = (inner.program.plan for _, inner in graphs_in(graph))
    functions = (leaf.function for plan in plans for leaf in plan.leaves)
    return _short("".join(part for function in functions for part in _code(function)))


def index_hash(index: DatasetIndex) -> str:
    """Return a hash of the ids of an index, in their order."""
    ids = index._ids
    if isinstance(ids, (range, Ranges)):
        return _short(repr(ids))
    if hasattr(ids, "content"):  # they are computed
        parts = [index_hash(p) if isinstance(p, DatasetIndex) else repr(p) for p in ids.content()]
        return _short("\n".join(parts))
    from batchflow.index.hashing import hashed  # on use

    try:
        words = hashed(ids)
    except TypeError:  # ids of a kind that has no hash which is the same everywhere
        return _short("\n".join(map(repr, ids.tolist())))
    return hashlib.sha256(words.tobytes()).hexdigest()[:_ARRAY]


def _order(shuffle: Any) -> Any:
    if isinstance(shuffle, DescribedOrder):
        return f"{shuffle!r} {_short(_content(shuffle))}"
    return "a function" if callable(shuffle) else shuffle  # what it returns is compared beside


def _content(order: DescribedOrder) -> str:
    fields: Any = vars(order)
    return " ".join(f"{k}={_text(v)}" for k, v in sorted(fields.items()) if not k.startswith("_"))


def _text(value: Any) -> str:
    """Return a value in a text that is the same in another process."""
    if isinstance(value, np.ndarray):
        data = repr(value.tolist()) if value.dtype.hasobject else value.tobytes()
        return f"array {value.dtype} {value.shape} {_short(data)}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())})"
    if isinstance(value, Chance):
        return f"{value.name} of {_text(value.steps)}"
    if isinstance(value, Step):
        named = [f"{key}={_text(part)}" for key, part in value.kwargs.items()]
        return f"{value.name}({', '.join([*map(_text, value.args), *named])})"
    if isinstance(value, types.FunctionType):
        return f"function {value.__qualname__}"
    if isinstance(value, Expression):
        parts = ", ".join([type(value).__name__, *map(_text, value._parts())])
        return f"{_ADDRESS.sub('', shown(value))} {_short(parts)}"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({', '.join(sorted(map(_text, value)))})"
    if isinstance(value, (str, bytes, int, float, bool)):
        text = repr(value)
        return text if len(text) <= _LONG else f"{text[:_LONG]}... {_short(text)}"
    return f"{type(value).__name__} {_ADDRESS.sub('', shown(value))}"


def _code(function: Any) -> Iterator[str]:
    function = getattr(function, "__func__", function)
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    if code is not None and "batchflow/" not in code.co_filename.replace("\\", "/"):
        yield from _code_texts(code)


def _code_texts(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_texts(constant)
        elif not isinstance(constant, frozenset):  # whose order is another in each process
            yield repr(constant)


def _short(data: str | bytes) -> str:
    raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:_ARRAY]
