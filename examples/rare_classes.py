"""A table of 200,000 rows, of which one in fifty is of the class that matters.

Makes a table with an id column, numbers, and a rare outcome; splits it so that each part has its
share of the rare class and no customer is in two parts; trains a logistic regression by stochastic
gradients, rare rows weighted, and measures it on the test part.

    python examples/rare_classes.py
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score

from batchflow import ArrayBatch, B, Dataset

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


def main():
    dataset = Dataset.from_dataframe(
        make_table(), Orders, "order", features=FEATURES, churned="churned", customer="customer"
    )
    parts = dataset.split(0.7, 0.15, shuffle=1, stratify="churned", groups="customer")
    regression = SGDClassifier(loss="log_loss", class_weight={0: 1, 1: 49}, random_state=2)
    training = parts.train.p.init_model("regression", regression)
    training = training.train_model("regression", B.features, B.churned)
    training.run(512, shuffle=2, n_epochs=2, prefetch=4)

    train, test = (part.p.next_batch(len(part)) for part in (parts.train, parts.test))
    scores = regression.decision_function(test.features)
    print(f"rare rows in train and test: {train.churned.mean():.2%}, {test.churned.mean():.2%}")
    print(f"test AUC {roc_auc_score(test.churned, scores):.3f}")


if __name__ == "__main__":
    main()
