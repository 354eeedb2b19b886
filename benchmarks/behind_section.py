"""What would it bring to run the steps behind the ordered section in parallel, too?

A pipeline whose ordered step takes 1 ms (it asks a model, say) is followed by a parallel action
that waits 5 ms (it writes a file, say). That action runs in the consumer's thread, so that a batch
in your hands is never behind the models. Inside of `run()`, where nobody holds a batch, it could
run in threads. Against it stands a loop by hand that gives the writing to a pool of 4 threads.

    python benchmarks/behind_section.py

Read `gain`: how many times faster the loop by hand is. It is what `run()` leaves on the table for
such a pipeline; so write the loop, as `by_hand` does, where much is written behind a model.
"""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from measure import interleaved, report, spread

from batchflow import ArrayBatch, Dataset, action

N_BATCHES, ROUNDS, AHEAD = 100, 7, 4


class Batches(ArrayBatch):
    @action(singleton=True)
    def predict(self):
        time.sleep(0.001)
        return self

    @action
    def write(self):
        time.sleep(0.005)
        return self


dataset = Dataset(N_BATCHES, Batches)
behind = dataset.p.predict().write()
ordered = dataset.p.predict()


def run():
    behind.run(1, prefetch=AHEAD)


def by_hand():
    with ThreadPoolExecutor(AHEAD) as executor:
        waiting = deque()
        for batch in ordered.gen_batch(1, prefetch=AHEAD):
            waiting.append(executor.submit(batch.write))
            if len(waiting) == AHEAD:
                waiting.popleft().result()
        for future in waiting:
            future.result()


if __name__ == "__main__":
    seconds, _ = interleaved(ROUNDS, run=run, by_hand=by_hand)
    gain = [r / h for r, h in zip(seconds["run"], seconds["by_hand"], strict=True)]
    report("behind_section", gain=spread(gain))
