"""Does loading go on while the model trains?

200 batches, each of which takes 10 ms to load and 10 ms in a singleton training action, with
prefetch=2, against a thread written by hand that fills a queue of two.

    python benchmarks/overlap.py

Read `speed_against_queue`: 1.0 is as fast as the queue. Required: 0.97; aimed at: 0.99.
"""

import queue
import threading
import time

from measure import interleaved, report, spread

from batchflow import Batch, Dataset, action

N_BATCHES, SECONDS = 200, 0.01


class Slow(Batch):
    @action
    def load(self):
        time.sleep(SECONDS)
        return self

    @action(singleton=True)
    def train(self):
        time.sleep(SECONDS)
        return self


def by_hand():
    loaded = queue.Queue(maxsize=2)

    def load():
        for i in range(N_BATCHES):
            time.sleep(SECONDS)
            loaded.put(i)
        loaded.put(None)

    thread = threading.Thread(target=load)
    thread.start()
    while loaded.get() is not None:
        time.sleep(SECONDS)
    thread.join()


def main():
    pipeline = Dataset(N_BATCHES, Slow).p.load().train()
    seconds, _ = interleaved(
        5,
        queue=by_hand,
        **{
            f"prefetch={prefetch}": lambda prefetch=prefetch: pipeline.run(1, prefetch=prefetch)
            for prefetch in (1, 2, 4)
        },
        one_worker=lambda: pipeline.run(1, prefetch=2, n_workers=1),
    )
    speeds = {
        name: spread([q / t for q, t in zip(seconds["queue"], times, strict=True)])
        for name, times in seconds.items()
        if name != "queue"
    }
    ideal = (N_BATCHES + 1) * SECONDS
    report(
        "overlap",
        speed_against_queue=speeds,
        queue_against_ideal=round(ideal / min(seconds["queue"]), 4),
    )


if __name__ == "__main__":
    main()
