"""The end of a run: all that it began is ended, and its last steps are taken."""

from __future__ import annotations

import sys
from collections.abc import Callable

from batchflow.engine.graph import RunGraph
from batchflow.engine.workers import CLOSE_GRACE, Workers
from batchflow.executors.loop import EventLoop, PrivateLoop


def end_run(
    graph: RunGraph,
    workers: Workers,
    loop: EventLoop | PrivateLoop | None,
    tell_models: Callable[[], None] | None,
) -> None:
    """End what a run has begun, tell its models, and take the last steps.

    Args:
        graph: The graph of the run.
        workers: Its workers.
        loop: Its event loop, if it has one.
        tell_models: Tells the models of the end, first: a step may save them. None: none is made.

    Raises:
        Exception: What a last step raises, if nothing else has failed before.
    """
    workers.close()
    grace = CLOSE_GRACE if graph.has_last_steps else 0.0
    if loop is not None:
        loop.close(grace)
    if grace:
        workers.join(grace)
    _finish(graph, tell_models, type(loop))


def _finish(
    graph: RunGraph,
    tell_models: Callable[[], None] | None,
    make_loop: Callable[[], EventLoop | PrivateLoop | None],
) -> None:
    """Take the last steps. If they fail after something else has failed, that is what is told.

    `make_loop` makes what runs the coroutines among them; it returns None if there are none.
    """
    earlier = sys.exception()
    loop = make_loop()
    try:
        try:
            if tell_models is not None:
                tell_models()
        finally:
            graph.finish(loop)
    except Exception as error:
        if earlier is None or isinstance(earlier, GeneratorExit):
            raise
        earlier.add_note(f"the steps of .after failed, too: {error!r:.200}")
    finally:
        if loop is not None:
            loop.close(CLOSE_GRACE)
