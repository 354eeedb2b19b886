"""Bad input, as users give it: each error says what was expected, what came, and what to type.

The three parts are looked for in the message and in its notes, which is what a user sees.
"""

import numpy as np
import pytest

from batchflow import ArrayBatch, BatchflowError, Dataset, DatasetIndex, Pipeline, action, model


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def scale(self, factor):
        return self

    @action
    def forget(self):
        self.images = self.images / 2

    @action
    def give_array(self):
        return self.images


def digits(n_items=6):
    return Dataset.from_arrays(Digits, images=np.zeros((n_items, 2)), labels=np.arange(n_items))


CASES = {
    "empty list": (lambda: DatasetIndex([]), ["at least one item", "empty"]),
    "zero items": (lambda: Dataset(0), ["at least one item", "0"]),
    "no rows": (
        lambda: Dataset.from_arrays(Digits, images=np.zeros((0, 2)), labels=np.zeros(0)),
        ["at least one item", "0"],
    ),
    "batch size 0": (lambda: digits().p.run(0), ["batch_size", "at least 1", "0"]),
    "negative prefetch": (
        lambda: digits().p.run(2, prefetch=-1),
        ["prefetch", "at least 0", "-1"],
    ),
    "wrong length": (
        lambda: Dataset(6, Digits, preloaded=(np.zeros((6, 2)), np.zeros(5))),
        ["Digits.labels", "6 items", "5 rows"],
    ),
    "wrong length by name": (
        lambda: Dataset.from_arrays(Digits, images=np.zeros((6, 2)), labels=np.zeros(7)),
        ["Digits.labels", "6 items", "7 rows"],
    ),
    "wrong length assigned": (
        lambda: setattr(digits().create_batch([0, 1]), "labels", [1, 2, 3]),
        ["Digits.labels", "expected 2 items", "got 3"],
    ),
    "unknown component": (
        lambda: Dataset.from_arrays(Digits, imges=np.zeros(6), labels=np.zeros(6)),
        ["'imges'", "Did you mean 'images'"],
    ),
    "unknown component of an item": (
        lambda: digits().create_batch([0])[0].imges,
        ["'imges'", "Did you mean 'images'"],
    ),
    "no batch": (
        lambda: digits().p.forget().run(2),
        ["'forget'", "must return a batch", "nothing", "return self", "batch 0"],
    ),
    "an array for a batch": (
        lambda: digits().p.give_array().run(2),
        ["'give_array'", "must return a batch", "ndarray", "return self", "batch 0"],
    ),
    "unknown action": (
        lambda: digits().p.scael(2),
        ["'scael'", "Did you mean 'scale'"],
    ),
    "missing argument": (lambda: digits().p.scale(), ["scale", "'factor'", "scale(self, factor)"]),
    "unknown option": (lambda: digits().p.run(2, shufle=True), ["'shufle'", "'shuffle'"]),
    "no dataset": (
        lambda: Pipeline().run(2),
        ["no dataset", "dataset >> pipeline"],
    ),
    "no parentheses": (
        lambda: model(lambda: 0),
        ["parentheses", "@model()"],
    ),
    "a position for an id": (
        lambda: Digits(["a", "b"])[0],
        ["0", "['a', 'b']", "batch.images[0]"],
    ),
}


@pytest.mark.parametrize(("do", "parts"), CASES.values(), ids=CASES)
def test_bad_input_is_refused_with_what_one_needs_to_know(do, parts):
    with pytest.raises(BatchflowError) as caught:
        do()
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert [part for part in parts if part not in text] == []


def test_an_unknown_component_read_from_a_batch_names_the_right_one():
    with pytest.raises(AttributeError, match="'images'"):
        _ = digits().create_batch([0]).imges


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_batch_size_beyond_the_dataset_is_the_same_error_at_any_prefetch(prefetch):
    with pytest.raises(ValueError, match=r"batch_size=10 .* 6 items"):
        digits().p.run(10, n_epochs=1, prefetch=prefetch, drop_last=True)
