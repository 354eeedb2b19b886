"""How many batches exist that the consumer has not taken?

A consumer that dawdles gives the workers all the time they want; each batch that they have made by
then and that was not taken counts.

    python benchmarks/ahead.py

Read `most_made_and_not_taken`: at most the prefetch.
"""

import time

from measure import report

from batchflow import Batch, Dataset, action

made = []


class Counted(Batch):
    @action
    def count(self):
        made.append(self.number)
        return self


def most_ahead(prefetch):
    made.clear()
    most = 0
    run = Dataset(60, Counted).p.count().gen_batch(1, prefetch=prefetch)
    for taken, _ in enumerate(run, start=1):
        time.sleep(0.005)
        most = max(most, len(made) - taken)
    return most


def main():
    report(
        "ahead",
        most_made_and_not_taken={f"prefetch={p}": most_ahead(p) for p in (0, 1, 2, 4, 16)},
    )


if __name__ == "__main__":
    main()
