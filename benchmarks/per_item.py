"""What does work per item cost beside the work?

The items do next to nothing, so that all time is spent on getting them to workers and back: in
turn, in the shared threads, and in the shared processes, which are warm. Beside them what others
do: a pool of threads for each batch, and one task for each item. `waiting_64`: items that wait for
2 ms, for which more threads than CPUs are wanted.

    python benchmarks/per_item.py

Read `milliseconds_per_batch`. Aimed at: `threads_10` below 0.5, `processes_4` below 5. The ratios
compare interleaved rounds; above 1 means slower than what is named. `waiting_to_pool_of_8` is how
much longer it takes: threads come when it shows that others wait. `n_workers=8` has them at once.
"""

import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from measure import interleaved, ratios, report, spread

from batchflow import ArrayBatch
from batchflow.batch import inbatch_parallel
from batchflow.executors.item_threads import shutdown
from batchflow.executors.job import in_processes

ROUNDS = 40
N_ITEMS = 256


class Items(ArrayBatch):
    components = "images"

    @inbatch_parallel("images", post="keep")
    def work(self, image):
        return image

    @inbatch_parallel("images", post="keep")
    def wait(self, image):
        time.sleep(0.002)
        return image

    def keep(self, results):  # noqa: ARG002
        return self


def batch_of(n_items):
    batch = Items(n_items)
    batch.images = np.zeros((n_items, 4))
    return batch


def nothing(*items):
    return items


def pool_for_each_batch(n_items):
    with ThreadPoolExecutor(8) as pool:
        wait([pool.submit(nothing, i) for i in range(n_items)])


def main():
    ten, four, many, some = batch_of(10), batch_of(4), batch_of(N_ITEMS), batch_of(64)
    pool = ThreadPoolExecutor(8)
    chunks = np.array_split(np.arange(N_ITEMS), 4)
    seconds, _ = interleaved(
        ROUNDS,
        for_10=lambda: ten.work(target="for"),
        threads_10=lambda: ten.work(target="threads"),
        pool_for_each_batch_10=lambda: pool_for_each_batch(10),
        processes_4=lambda: four.work(target="processes"),
        threads_256=lambda: many.work(target="threads"),
        task_per_item_256=lambda: wait([pool.submit(nothing, i) for i in range(N_ITEMS)]),
        waiting_64=lambda: some.wait(),
        waiting_pool_of_8=lambda: wait([pool.submit(time.sleep, 0.002) for _ in range(64)]),
        process_chunks_256=lambda: in_processes(nothing, [tuple(c.tolist()) for c in chunks]),
        process_task_per_item_256=lambda: in_processes(nothing, [(i,) for i in range(N_ITEMS)]),
    )
    report(
        "per_item",
        milliseconds_per_batch={
            name: spread([s * 1e3 for s in times]) for name, times in seconds.items()
        },
        threads_to_pool_for_each_batch=ratios(seconds, "pool_for_each_batch_10")["threads_10"],
        threads_to_task_per_item=ratios(seconds, "task_per_item_256")["threads_256"],
        waiting_to_pool_of_8=ratios(seconds, "waiting_pool_of_8")["waiting_64"],
        process_chunks_to_task_per_item=ratios(seconds, "process_task_per_item_256")[
            "process_chunks_256"
        ],
    )
    pool.shutdown()
    shutdown()


if __name__ == "__main__":
    main()
