"""The state of a session of TensorFlow 1: the values of the variables of its graph.

The graph is not added to. What random operations keep of their own is in the session's kernels,
where nobody can read it: these operations are named.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from batchflow.errors import ArgumentValueError

_MOST = 3  # names in a warning


def values_of(session: Any) -> dict[str, Any]:
    """Return the values of all variables that have one, by their names."""
    tf = sys.modules["tensorflow"]
    variables = _variables(session)
    try:
        return dict(zip(variables, session.run([*variables.values()]), strict=True))
    except tf.errors.FailedPreconditionError:  # some are not initialised
        values = {}
        for name, variable in variables.items():
            try:
                values[name] = session.run(variable)
            except tf.errors.FailedPreconditionError:
                continue
        return values


def put_values(session: Any, values: Mapping[str, Any], where: str) -> None:
    """Put values into the variables of a session.

    Raises:
        ArgumentValueError: (a `ValueError`) Its graph has no variable of a name, or of a shape.
    """
    variables = _variables(session)
    for name, value in values.items():
        variable = variables.get(name)
        if variable is None or not variable.shape.is_compatible_with(np.shape(value)):
            what = "not there" if variable is None else f"of the shape {variable.shape}"
            raise ArgumentValueError(
                f"{where}: the variable {name!r} of the shape {np.shape(value)} was saved, and is "
                f"{what} now"
            )
    starts = [variables[name].initializer for name in values]
    session.run(starts, {one.inputs[1]: values[n] for one, n in zip(starts, values, strict=True)})


def warn_of_random_operations(session: Any, where: str) -> None:
    """Warn of operations of a graph that draw from a random state of their own."""
    names = random_operations(session.graph)
    if names:
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        warnings.warn(
            f"{where}: the operations {', '.join(map(repr, names[:_MOST]))}{more} of its graph "
            "draw random numbers from a state that cannot be saved: a resumed run goes on with "
            "other ones. Let the graph draw by tf.random.stateless_uniform and its like, with a "
            "seed that counts the steps, or feed it what is random",
            stacklevel=2,
        )


def random_operations(graph: Any) -> list[str]:
    """Return the names of the random operations of a graph, but for those of initial values."""
    starts = [variable.initializer for variable in _variables_in(graph).values()]
    initial = _ahead_of(starts)
    found = [one for one in graph.get_operations() if "seed2" in one.node_def.attr]
    names = [one.name for one in found if not _behind(one) <= initial]
    for function in graph.as_graph_def().library.function:
        names += [
            f"{function.signature.name}/{node.name}"
            for node in function.node_def
            if "seed2" in node.attr
        ]
    return names


def _ahead_of(operations: list[Any]) -> set[Any]:
    """Return operations, and those that their inputs come from."""
    found, rest = set(operations), list(operations)
    while rest:
        more = {tensor.op for tensor in rest.pop().inputs} - found
        found |= more
        rest += more
    return found


def _behind(operation: Any) -> set[Any]:
    """Return an operation, and those that get what it gives."""
    found, rest = {operation}, [operation]
    while rest:
        more = {user for tensor in rest.pop().outputs for user in tensor.consumers()} - found
        found |= more
        rest += more
    return found


def _variables(session: Any) -> dict[str, Any]:
    return _variables_in(session.graph)


def _variables_in(graph: Any) -> dict[str, Any]:
    tf1 = sys.modules["tensorflow"].compat.v1
    with graph.as_default():
        found = [*tf1.global_variables(), *tf1.local_variables()]
    return {variable.op.name: variable for variable in found}
