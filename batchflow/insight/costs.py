"""What was measured in a run, as figures."""

from __future__ import annotations

from typing import NamedTuple

from batchflow.engine.timing import CallKey


class Totals(NamedTuple):
    """The figures of a whole run. Times are in seconds; the start of workers is left out.

    Attributes:
        n_batches: How many batches the times are about.
        elapsed: The time that they took.
        waited: How long the ordered steps and the consumer waited for batches.
        consumer: How long the consumer had a batch in its hands.
        delay: How long the consumer's thread waited for a CPU.
        n_live: The most source batches that were begun and not given away, and the one in use.
        memory: The most memory that the process and its workers have had, in bytes.
        prefetch: That of the run.
        n_workers: The most batches at work at once.
        is_far: Whether they were made in other processes.
        share_late: In which share of the looks the interpreter was held by some thread.
        consumers: Process and thread of the consumer; several where it reads in several.
    """

    n_batches: int
    elapsed: float
    waited: float
    consumer: float
    delay: float
    n_live: int
    memory: int
    prefetch: int
    n_workers: int
    is_far: bool
    share_late: float
    consumers: tuple[tuple[int, int], ...]


class StepCost(NamedTuple):
    """What one step, the source, or all work ahead costs. Times are in seconds, for one call.

    Attributes:
        key: What it is.
        n_calls: How often it was called.
        is_ahead: Whether it is ahead of the ordered section.
        is_nested: Whether it belongs to a pipeline inside of the run's.
        mean: The time, without that of steps inside of it.
        usual: The mean without waiting for a CPU, the first call, and the longest of twenty.
        median: The median, without waiting for a CPU.
        least: What a quarter of the calls stay below, without that.
        p95: The time that 95 % of the calls stay below.
        cpu: The CPU time of its thread.
        median_cpu: The median of that.
        delay: How long it waited for a CPU.
        n_bytes: The size of the batch that comes out.
        n_faults: Page faults.
        middle_faults: The median of them.
        threads: The processes and threads in which it ran.
        busy: Which share of their time workers were at work; only of the work as a whole.
        of_items: The CPU time that the calls for the items of a batch took together.
        waiting_items: Whether these wait more than they work.
        n_of_items: For how many batches they were measured.
        share_locked: Which share of the threads in it waited for a lock.
        first: When it was first called.
        in_turn: Which share of its latest calls the consumer's thread made.
    """

    key: CallKey
    n_calls: int
    is_ahead: bool
    is_nested: bool
    mean: float
    usual: float
    median: float
    least: float
    p95: float
    cpu: float
    median_cpu: float
    delay: float
    n_bytes: int
    n_faults: int
    middle_faults: int
    threads: tuple[tuple[int, int], ...]
    busy: float
    of_items: float
    waiting_items: bool
    n_of_items: int
    share_locked: float
    first: float
    in_turn: float

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return f"{self.key.name} (inside)" if self.is_nested else self.key.name
