"""The state of a session of TensorFlow 1: what a saver of its graph would save.

Those are the values of its variables, local ones included, and of what a graph lists as saveable
(tables). They are read without adding to the graph. What random operations, queues and iterators
keep is in the session's kernels, where nobody can read it: these operations are named.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from batchflow.errors import ArgumentValueError

_MOST = 3  # names in a warning
# Operations that hold things: by their types, as far as they have no attribute for a seed.
_HOLDERS = re.compile(
    r".*(Queue|Accumulator|Barrier|Stage|Reader)(V2)?|(Iterator|OneShotIterator|MultiDeviceIterator)(V2)?"
)


def values_of(session: Any) -> dict[str, Any]:
    """Return what variables and saveable objects hold, by their names."""
    tf, session = sys.modules["tensorflow"], plain(session)
    tensors = _variables_in(session.graph)
    try:
        values = dict(zip(tensors, session.run([*tensors.values()]), strict=True))
    except tf.errors.FailedPreconditionError:  # some are not initialised
        values = {}
        for name, variable in tensors.items():
            try:
                values[name] = session.run(variable)
            except tf.errors.FailedPreconditionError:
                continue
    saveables = _saveables_in(session.graph).items()
    held = {name: session.run([spec.tensor for spec in one.specs]) for name, one in saveables}
    return {"variables": values, "saveables": held}


def put_values(session: Any, state: Mapping[str, Any], where: str) -> None:
    """Put values into the variables and saveable objects of a session.

    Raises:
        ArgumentValueError: (a `ValueError`) Its graph has no variable of a name, or of a shape.
    """
    session = plain(session)
    values, variables = state["variables"], _variables_in(session.graph)
    for name, value in values.items():
        variable = variables.get(name)
        if variable is None or not variable.shape.is_compatible_with(np.shape(value)):
            what = "not there" if variable is None else f"of the shape {variable.shape}"
            raise ArgumentValueError(
                f"{where}: the variable {name!r} of the shape {np.shape(value)} was saved, and is "
                f"{what} now"
            )
    rest = dict(values)
    while rest:  # variables that begin with one tensor take their values one after the other
        round_ = {variables[name].initializer.inputs[1].ref(): name for name in rest}
        feeds = {tensor.deref(): rest.pop(name) for tensor, name in round_.items()}
        session.run([variables[name].initializer for name in round_.values()], feeds)
    _put_saveables(session, state["saveables"], where)


def _put_saveables(session: Any, held: Mapping[str, Any], where: str) -> None:
    tf1, saveables = sys.modules["tensorflow"].compat.v1, _saveables_in(session.graph)
    for name, values in held.items():
        if name not in saveables:
            raise ArgumentValueError(f"{where}: {name!r} was saved, and is not there now")
        with session.graph.as_default(), session.graph.control_dependencies(None):
            tensors = [tf1.constant(value) for value in values]
            session.run(saveables[name].restore(tensors, None))


def plain(session: Any) -> Any:
    """Return the session itself, where hooks stand around it."""
    inner = getattr(session, "_tf_sess", None)
    return session if inner is None else inner()


def warn_of_random_operations(session: Any, where: str) -> None:
    """Warn of operations of a graph whose states are in the session, random ones and others."""
    holders = [one.name for one in session.graph.get_operations() if _HOLDERS.fullmatch(one.type)]
    if holders:
        warnings.warn(
            f"{where}: what {_listed(holders)} of its graph hold cannot be saved: a resumed run "
            "begins with them anew. Feed the graph what the pipeline has read",
            stacklevel=2,
        )
    names = random_operations(session.graph)
    if names:
        warnings.warn(
            f"{where}: the operations {_listed(names)} of its graph "
            "draw random numbers from a state that cannot be saved: a resumed run goes on with "
            "other ones. Let the graph draw by tf.random.stateless_uniform and its like, with a "
            "seed that counts the steps, or feed it what is random",
            stacklevel=2,
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{', '.join(map(repr, names[:_MOST]))}{more}"


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


def _saveables_in(graph: Any) -> dict[str, Any]:
    tf1 = sys.modules["tensorflow"].compat.v1
    return {one.name: one for one in graph.get_collection(tf1.GraphKeys.SAVEABLE_OBJECTS)}


def _variables_in(graph: Any) -> dict[str, Any]:
    tf1 = sys.modules["tensorflow"].compat.v1
    with graph.as_default():
        found = [*tf1.global_variables(), *tf1.local_variables()]
    return {variable.op.name: variable for variable in found}
