"""Graphs and sessions of TensorFlow 1 (`tf.compat.v1`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["initialize_sessions"]


def initialize_sessions(values: Iterable[Any]) -> None:
    """Initialise the variables that are not initialised yet in the sessions among `values`.

    A model definition makes its variables when a run needs them, which is after the point where
    graph code usually calls `global_variables_initializer`. Variables that hold a value keep it.

    Args:
        values: Anything; what is not a `tf.compat.v1.Session` is passed over. TensorFlow is not
            imported: where it is not, there is no session.
    """
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return
    tf1 = tf.compat.v1
    sessions = {id(value): value for value in values if isinstance(value, tf1.Session)}
    for session in sessions.values():
        if session.graph.finalized:  # its owner has prepared it, and nothing can be added
            continue
        with session.graph.as_default():
            variables = {variable.op.name: variable for variable in tf1.global_variables()}
            names = session.run(tf1.report_uninitialized_variables([*variables.values()]))
            if len(names):
                missing = [variables[name.decode()] for name in names]
                session.run(tf1.variables_initializer(missing))
