"""The copies of models that `pipeline.check()` works with: nothing they do reaches the model."""

import threading
from collections import namedtuple

import numpy as np
import pytest

from batchflow import Batch, model
from batchflow.batch.directory import hooked
from batchflow.inspection.model_copies import Copies, NoCopyError


class Net:
    def __init__(self):
        self.weights, self.n = np.zeros(3), 0

    def train(self):
        self.weights[0] += 1
        self.n += 1


class Rows(Batch):
    @model()
    def net():
        return Net()


class Single:
    _one = None

    def __new__(cls):
        cls._one = cls._one or super().__new__(cls)
        return cls._one


class Client:
    def __getstate__(self):
        return {}


@pytest.mark.parametrize("held", [lambda: 1, threading.Lock(), Single(), Client()])
def test_there_is_no_copy_of_what_may_be_shared(held):
    for given in (held, {"held": [held]}, np.array([held])):
        with pytest.raises(NoCopyError):
            Copies().of("net", given)


def test_there_is_no_copy_of_a_class():
    with pytest.raises(NoCopyError):
        Copies().of("net", Net)


def test_arrays_named_tuples_and_functions_of_numpy_are_copied():
    Pair = namedtuple("Pair", "one other")
    globals()["Pair"] = Pair  # where pickle looks for it
    Pair.__module__ = __name__
    given = {"net": Net(), "pair": Pair(np.ones(2), np.sum), "none": None}
    copy = Copies().of("net", given)
    copy["pair"].one[0] = 5
    copy["net"].train()
    assert (given["pair"].one.tolist(), given["net"].n) == ([1, 1], 0)
    assert copy["pair"].other is np.sum


def test_a_copy_is_noticed_to_change_once():
    copies, net = Copies(), Net()
    copy = copies.of("net", net)
    assert (copy is net, copies.of("net", net) is copy, copies.changed()) == (False, True, [])
    copy.train()
    assert (copies.changed(), copies.changed(), net.n) == (["net"], [], 0)


def test_nothing_is_watched_afterwards():
    copies, net = Copies(), Rows.models["net"]
    with pytest.raises(ArithmeticError), hooked(copies.asked_for):
        assert Rows.models["net"] is copies.of("net", net)
        raise ArithmeticError
    assert Rows.models["net"] is net
    assert copies.asked == ["net"]


def test_another_thread_gets_the_model_itself_meanwhile():
    copies, net, seen = Copies(), Rows.models["net"], []
    with hooked(copies.asked_for):
        thread = threading.Thread(target=lambda: seen.append(Rows.models["net"]))
        thread.start()
        thread.join()
        mine = Rows.models["net"]
    assert (seen[0] is net, mine is net, copies.asked) == (True, False, ["net"])


def test_two_look_at_once_each_at_copies_of_its_own():
    one, other = Copies(), Copies()
    with hooked(one.asked_for):
        mine = Rows.models["net"]
        with hooked(other.asked_for):
            assert Rows.models["net"] is not mine
        assert Rows.models["net"] is mine
    assert (one.asked, other.asked) == (["net", "net"], ["net"])
