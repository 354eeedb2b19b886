"""A table of 200,000 rows, of which one in fifty is of the class that matters.

Makes a table with an id column, numbers, and a rare outcome; splits it so that each part has its
share of the rare class and no customer is in two parts; trains a logistic regression by stochastic
gradients, rare rows weighted, and measures it on the test part.

    python examples/rare_classes.py
"""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from batchflow import ArrayBatch, Dataset, action

N_ROWS, N_CUSTOMERS = 200_000, 20_000
FEATURES = ["age", "income", "visits", "debt"]


def make_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(N_ROWS, len(FEATURES))), columns=FEATURES)
    score = table.age - 2 * table.income + 0.5 * table.visits + rng.normal(size=N_ROWS)
    table["churned"] = (score > score.quantile(0.98)).astype(int)
    table["customer"] = rng.integers(N_CUSTOMERS, size=N_ROWS)
    table["order"] = [f"order-{number:06d}" for number in rng.permutation(N_ROWS)]
    return table


class Orders(ArrayBatch):
    components = "features", "churned", "customer"

    @action(singleton=True)
    def train(self, rate, weight):
        coefficients, x = self.pipeline.v("coefficients"), self._with_ones()
        error = 1 / (1 + np.exp(-x @ coefficients)) - self.churned
        error = np.where(self.churned == 1, weight, 1) * error
        coefficients -= rate * x.T @ error / len(self)
        return self

    def _with_ones(self):
        return np.column_stack([self.features, np.ones(len(self))])

    @action
    def scores(self, coefficients):
        self.features = self._with_ones() @ coefficients
        return self


def main():
    dataset = Dataset.from_dataframe(
        make_table(),
        Orders,
        index="order",
        features=FEATURES,
        churned="churned",
        customer="customer",
    )
    parts = dataset.split(0.7, 0.15, shuffle=1, stratify="churned", groups="customer")
    start = np.zeros(len(FEATURES) + 1)
    training = parts.train.p.init_variable("coefficients", start).train(0.5, weight=49)
    training.run(512, shuffle=2, n_epochs=2, prefetch=4)

    testing = parts.test.p.scores(training.v("coefficients"))
    batches = list(testing.gen_batch(4096, prefetch=2))
    truth = np.concatenate([batch.churned for batch in batches])
    scores = np.concatenate([batch.features for batch in batches])
    shares = [np.mean(part.p.next_batch(len(part)).churned) for part in (parts.train, parts.test)]
    print(f"rare rows in train and test: {shares[0]:.2%}, {shares[1]:.2%}")
    print(f"test AUC {roc_auc_score(truth, scores):.3f}")


if __name__ == "__main__":
    main()
