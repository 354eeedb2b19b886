"""Graphs and sessions of TensorFlow 1 (`tf.compat.v1`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

# By words of an error of TensorFlow: what to write.
_CURES = {
    "is not compatible with eager execution": (
        "a definition in the code of TensorFlow 1 opens a graph: write its body inside of "
        "with tf.Graph().as_default():, or call tf.disable_eager_execution() first in the program"
    ),
    "is not an element of this graph": (
        "the session is of another graph than the model: write tf.Session(graph=...) with the "
        'graph of its tensors, such as MyBatch.models["name"][0].graph'
    ),
    "uninitialized": (
        "the run initialises variables of sessions that are given as they are, session=sess. Of "
        "one that comes by C(...), V(...) or inside of another object do it yourself, when the "
        'model is made: MyBatch.models["name"], then sess.run(tf.global_variables_initializer()) '
        "in its graph"
    ),
}
_CURES["Could not find variable"] = _CURES["uninitialized"]


def advice_on_graph(error: BaseException) -> str | None:
    """Return what to write instead, for errors that old programs of TensorFlow 1 meet first.

    Args:
        error: Any exception.

    Returns:
        Advice; None for any other exception, and where TensorFlow is not loaded.
    """
    if "tensorflow" not in sys.modules:
        return None
    text = str(error)
    is_graph = "tf." in text or "Tensor" in text or "ariable" in text
    return next((cure for words, cure in _CURES.items() if words in text and is_graph), None)


def initialize_sessions(values: Iterable[Any]) -> None:
    """Initialise the variables that are not initialised yet in the sessions among `values`.

    A model definition makes its variables when a run needs them. By then graph code has usually
    called `global_variables_initializer` already. Variables that hold a value keep it.

    Args:
        values: Any values. Those that are no sessions of `tf.compat.v1` are left alone. TensorFlow
            is not imported: where it is not loaded, there is no session.
    """
    tf1 = _tf1()
    if tf1 is None:
        return
    sessions = {id(value): value for value in values if is_session(value)}
    for session in sessions.values():
        if not session.graph.finalized:  # otherwise its owner has prepared it
            _initialize(session, tf1)


def _initialize(session: Any, tf1: Any) -> None:
    graph = session.graph
    with graph.as_default(), graph.control_dependencies(None), tf1.device(None):
        found = [*tf1.global_variables(), *tf1.local_variables()]
        variables = {variable.op.name: variable for variable in found}
        # The report is added to the graph once for each set of variables, not at every run.
        known = getattr(graph, "_batchflow_report", None)
        if known is None or known[0] != variables.keys():
            known = {*variables}, tf1.report_uninitialized_variables([*variables.values()])
            graph._batchflow_report = known
        missing = [variables[name.decode()] for name in session.run(known[1])]
        if missing:
            session.run(tf1.variables_initializer(missing))


def is_session(value: Any) -> bool:
    """Check whether a value is a session of `tf.compat.v1`, or one with hooks around it."""
    tf1 = _tf1()
    if tf1 is None:
        return False
    with_hooks = tf1.train.MonitoredSession, tf1.train.SingularMonitoredSession
    return isinstance(value, (tf1.Session, tf1.InteractiveSession, *with_hooks))


def is_of_graph(value: Any) -> bool:
    """Check whether a value belongs to a graph, or is one: what it computes is in a session."""
    tf1 = _tf1()
    if tf1 is None:
        return False
    if isinstance(value, tf1.train.Optimizer):
        return all(map(is_of_graph, value.variables()))
    if isinstance(value, (tf1.Graph, tf1.Operation, tf1.train.Saver)):
        return True
    kinds = tf1.Tensor, tf1.Variable, sys.modules["tensorflow"].Variable
    try:
        return isinstance(value, kinds) and value.graph is not None  # in eager execution: an error
    except AttributeError:
        return False


def _tf1() -> Any:
    """Return `tf.compat.v1`; None where TensorFlow is not loaded, or is just being imported."""
    return getattr(getattr(sys.modules.get("tensorflow"), "compat", None), "v1", None)
