"""The calls of a run as trace events, which the Perfetto viewer shows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from batchflow.engine.timing import Call
from batchflow.files import checked_path, replacing

Thread = tuple[int, int]


def write_trace(
    path: str | os.PathLike[str],
    calls: Sequence[Call],
    consumed: Sequence[tuple[float, float]],
    consumers: Sequence[Thread],
) -> None:
    """Write a file of trace events.

    Args:
        path: The file.
        calls: The calls.
        consumed: When the consumer had a batch in its hands, and how long.
        consumers: Its process and thread, or several.
    """
    starts = [call.start for call in calls] + [start for start, _ in consumed]
    first = min(starts, default=0.0)
    consumer = consumers[0] if consumers else (os.getpid(), 0)
    threads = {consumer: 1}
    for call in calls:
        threads.setdefault(call.thread, len(threads) + 1)
    events = [*_names(threads, consumer)]
    events += [_event(call, first, threads) for call in calls]
    process, _ = consumer
    for start, seconds in consumed:
        events.append(
            {"name": "consumer", "ph": "X", "ts": (start - first) * 1e6, "dur": seconds * 1e6}
            | {"pid": process, "tid": 1}
        )
    with replacing(checked_path(path)) as temporary, open(temporary, "w") as file:
        json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)


def _names(threads: dict[Thread, int], consumer: Thread) -> Iterator[dict[str, Any]]:
    """Yield the names of processes and threads."""
    for process in dict.fromkeys(process for process, _ in threads):
        name = "this process" if process == consumer[0] else "worker process"
        yield {"name": "process_name", "ph": "M", "pid": process, "args": {"name": name}}
    for thread, number in threads.items():
        name = "consumer" if thread == consumer else f"thread {number}"
        about = {"name": "thread_name", "ph": "M", "pid": thread[0], "tid": number}
        yield about | {"args": {"name": name}}


def _event(call: Call, first: float, threads: dict[Thread, int]) -> dict[str, Any]:
    name = f"batch {call.number}" if call.key.kind == "work" else call.key.name
    about = {"batch": call.number, "at": call.key.where, "cpu_ms": call.cpu * 1e3}
    return {
        "name": name,
        "ph": "X",
        "ts": (call.start - first) * 1e6,
        "dur": call.whole * 1e6,
        "pid": call.thread[0],
        "tid": threads[call.thread],
        "args": about | {"page_faults": call.faults},
    }
