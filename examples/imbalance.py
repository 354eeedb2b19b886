"""One class in fifty: scikit-learn's handwritten digits, of which the nines have become rare.

Keeps 32 nines, one for each fifty other digits; splits so that each part has its share of them;
trains a linear classifier by parts, on shuffled batches, on batches by `Weighted` and on batches by
`Balanced`; and measures the recall of both classes on the test part, in its true shares.

    python examples/imbalance.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from batchflow import ArrayBatch, B, Balanced, Dataset, Weighted, action

N_RARE = 32


class Digits(ArrayBatch):
    components = "pixels", "is_nine"

    @action
    def scale(self):
        self.pixels = self.pixels / 16
        return self


def make_dataset():
    pixels, digits = load_digits(return_X_y=True)
    nines = np.flatnonzero(digits == 9)
    kept = np.sort(np.concatenate([np.flatnonzero(digits != 9), nines[:N_RARE]]))
    is_nine = (digits[kept] == 9).astype(int)
    return Dataset.from_arrays(Digits, index=kept, pixels=pixels[kept], is_nine=is_nine)


def trained(part, order):
    pipeline = (
        part.p.scale()
        .init_model("linear", lambda: SGDClassifier(loss="log_loss", random_state=0))
        .train_model("linear", B.pixels, B.is_nine)
    )
    pipeline.run(32, shuffle=order, seed=1, n_epochs=3, prefetch=2)
    return pipeline.m("linear")


def recalls(model, part):
    test = part.p.scale().next_batch(len(part))
    found = model.predict(test.pixels)
    return [np.mean(found[test.is_nine == label] == label) for label in (0, 1)]


def main():
    dataset = make_dataset()
    parts = dataset.split(0.6, shuffle=3, stratify="is_nine")
    labels = parts.train.next_batch(len(parts.train)).is_nine
    print(f"{labels.mean():.1%} of {len(labels)} are nines")
    orders = {
        "shuffled": True,
        "weighted": Weighted(np.where(labels == 1, 20.0, 1.0)),
        "balanced": Balanced("is_nine", batch=(24, 8)),
    }
    for name, order in orders.items():
        others, nines = recalls(trained(parts.train, order), parts.test)
        print(f"{name}: recall of nines {nines:.2f}, of others {others:.2f}")


if __name__ == "__main__":
    main()
