"""Estimators of scikit-learn in a chain: they learn in parts, predict, transform and score."""

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, V, action

from .conftest import PREFETCH, each_prefetch

linear = pytest.importorskip("sklearn.linear_model")
preprocessing = pytest.importorskip("sklearn.preprocessing")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = np.repeat([3, 5, 9], 10)  # the first batches have one class alone


class Rows(ArrayBatch):
    components = "x", "y", "name"

    @action
    def merge_classes(self):
        self.y = self.y % 2
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=X, y=Y, name=np.array(["a", "b", "c"])[Y // 4])


def classifier():
    return linear.SGDClassifier(random_state=0)


def trained(dataset, y=B.y, **options):
    return dataset.p.init_model("net", classifier).train_model("net", B.x, y, **options)


@each_prefetch
def test_the_classes_are_those_of_the_labels_of_the_dataset(dataset, prefetch):
    net = trained(dataset).run(5, prefetch=prefetch).m("net")
    assert net.classes_.tolist() == [3, 5, 9]
    by_hand = classifier()
    for first in range(0, 30, 5):
        rows = slice(first, first + 5)
        by_hand.partial_fit(X[rows], Y[rows], classes=[3, 5, 9])
    assert np.array_equal(net.coef_, by_hand.coef_)


def test_texts_are_classes_and_a_part_of_a_dataset_has_its_own(dataset):
    net = trained(dataset, B.name).run(5).m("net")
    assert net.classes_.tolist() == ["a", "b", "c"]
    part = dataset.create_subset(np.arange(20))
    assert trained(part).run(5, shuffle=1).m("net").classes_.tolist() == [3, 5]


def test_classes_that_are_given_count(dataset):
    net = trained(dataset, classes=[3, 5, 7, 9]).run(5).m("net")
    assert net.classes_.tolist() == [3, 5, 7, 9]


def test_targets_that_were_changed_on_their_way_need_the_classes(dataset):
    chain = dataset.p.init_model("net", classifier).merge_classes()
    with pytest.raises(ValueError, match="classes") as caught:
        chain.train_model("net", B.x, B.y).run(5)
    assert "train_model(name, x, y, classes=[...])" in "".join(caught.value.__notes__)
    net = chain.train_model("net", B.x, B.y, classes=[0, 1]).run(5).m("net")
    assert net.classes_.tolist() == [0, 1]


def test_targets_that_are_those_of_the_dataset_by_chance_are_told_later():
    labels = np.repeat([0, 1, 2], 10)  # of which the first are not changed by `y % 2`
    dataset = Dataset.from_arrays(Rows, x=X, y=labels, name=labels)
    chain = dataset.p.merge_classes().init_model("net", classifier)
    with pytest.raises(ValueError, match=r"targets of this batch are others.*classes="):
        chain.train_model("net", B.x, B.y).run(5)
    net = chain.train_model("net", B.x, B.y, classes=[0, 1]).run(5).m("net")
    assert net.classes_.tolist() == [0, 1]


def test_false_is_no_label_0():
    labels = np.repeat([0, 1, 2], 10)
    dataset = Dataset.from_arrays(Rows, x=X, y=labels, name=labels)
    with pytest.raises(ValueError, match="classes must be passed"):
        trained(dataset, B.y > 0).run(5)


def test_a_model_goes_on_with_other_labels_of_another_dataset(dataset):
    net = trained(dataset).run(5).m("net")
    other = Dataset.from_arrays(Rows, x=X, y=Y, name=Y).p.init_model("net", net)
    assert other.train_model("net", B.x, B.y[::-1]).run(5).m("net") is net


def test_a_model_goes_on_where_other_datasets_come_in(dataset):
    net = trained(dataset).run(5).m("net")
    other = Dataset.from_arrays(Rows, x=X, y=Y, name=Y)
    both = dataset.p.merge(other.p.run_later(5)).init_model("net", net)
    again = both.train_model("net", B.x, B.y)
    assert again.run(5, shuffle=1).m("net").classes_.tolist() == [3, 5, 9]


def test_a_transformer_predicts_by_transforming(dataset):
    chain = dataset.p.init_model("scaler", preprocessing.StandardScaler)
    chain = chain.train_model("scaler", B.x).predict_model("scaler", B.x, save_to=B.x)
    scaled = next(chain.gen_batch(30)).x
    assert np.allclose(scaled, preprocessing.StandardScaler().fit_transform(X))


def test_a_test_is_the_score_at_every_prefetch(dataset):
    def scores(prefetch):
        chain = trained(dataset).init_variable("scores", init=list)
        chain = chain.evaluate_model("net", B.x, B.y, save_to=V("scores", "a"))
        return chain.run(5, shuffle=1, n_epochs=2, prefetch=prefetch).v("scores")

    expected = scores(0)
    assert [scores(prefetch) for prefetch in PREFETCH] == [expected] * len(PREFETCH)
    assert len(set(expected)) > 1
