"""What do expressions and stored values add to an action?

The same two actions, with plain arguments and with two expressions each and `save_to` in the batch;
both do next to nothing.

    python benchmarks/language.py

Read `added_microseconds_per_action`. Aimed at: 3.
"""

from measure import interleaved, report, spread

from batchflow import B, Batch, Dataset, action

N_BATCHES = 4000


class Tiny(Batch):
    @action
    def plain(self, one, two):  # noqa: ARG002
        return self

    @action
    def value(self, one, two):  # noqa: ARG002
        return one


def main():
    dataset = Dataset(N_BATCHES, Tiny)
    plain = dataset.p.plain(1, 2).plain(1, 2)
    late = dataset.p.value(B.number, B.epoch, save_to=B.one).value(B.one, B.epoch, save_to=B.two)
    seconds, _ = interleaved(
        15, plain=lambda: plain.run(1), late=lambda: late.run(1), nothing=lambda: dataset.p.run(1)
    )
    pairs = zip(seconds["late"], seconds["plain"], strict=True)
    report(
        "language",
        added_microseconds_per_action=spread([(a - b) / N_BATCHES / 2 * 1e6 for a, b in pairs]),
    )


if __name__ == "__main__":
    main()
