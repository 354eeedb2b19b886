"""Draws from global random generators: told by `check`, wherever they are made."""

import random
import subprocess
import sys

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, action, inbatch_parallel
from batchflow.generators import GeneratorWatch


class Rows(ArrayBatch):
    components = "x"

    @action
    def call_it(self, function):
        function()
        return self

    @action(singleton=True)
    def call_in_order(self, function):
        function()
        return self

    @action
    @inbatch_parallel(init="indices")
    def call_by_item(self, item_id, function):
        function()

    @action
    @inbatch_parallel(init="indices")
    def draw_well(self, item_id):
        self.rng.random()

    @action
    @inbatch_parallel(init="indices")
    async def call_slowly(self, item_id, function):
        function()


def pipeline():
    return Dataset.from_arrays(Rows, x=np.arange(4)).p


def draw_python():  # a function: `random.random` itself travels with a copy of its generator
    random.random()


def draw_numpy():
    np.random.random()


def draw_torch():
    import torch

    torch.rand(1)


@pytest.mark.parametrize("target", ["threads", "for", "processes"])
@pytest.mark.parametrize(("draw", "name"), [(draw_python, "random"), (draw_numpy, "numpy.random")])
def test_check_tells_of_draws_for_items(target, draw, name):
    report = pipeline().call_by_item(draw, target=target).check()
    assert f"draws from the global generator of {name}," in "".join(report.problems)


def test_check_tells_of_draws_of_async_calls_for_items():
    report = pipeline().call_slowly(draw_python).check()
    assert "draws from the global generator of random," in "".join(report.problems)


@pytest.mark.parametrize("target", ["threads", "for", "processes"])
def test_check_tells_of_no_draws_for_items_from_their_own_generators(target):
    assert pipeline().draw_well(target=target).check().problems == []


@pytest.mark.parametrize("target", ["threads", "processes"])
def test_check_of_apply_parallel_tells_of_draws(target):
    drawing = pipeline().apply_parallel(lambda x: x + random.random(), src="x", target=target)
    assert "draws from the global generator of random," in "".join(drawing.check().problems)


def test_a_step_is_told_only_of_its_own_draws():
    report = pipeline().call_by_item(draw_python, target="processes").draw_well().check()
    assert [len(step.problems) for step in report.steps] == [1, 0]


def test_the_generators_are_as_before_a_watch():
    before = random.getstate(), np.random.get_state()[1].tolist()
    with GeneratorWatch():
        random.random()
        np.random.random()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_watch_imports_nothing():
    code = (
        "import sys; from batchflow.generators import GeneratorWatch as W\n"
        "with W() as w: w.drawn(w.states())\n"
        "print(*{'torch', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "\n"


@pytest.mark.torch
class TestTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def test_check_tells_of_draws_from_torchs_generator(self):
        report = pipeline().call_it(draw_torch).check()
        assert "draws from the global generator of torch," in "".join(report.problems)

    @pytest.mark.parametrize("target", ["threads", "processes"])
    def test_check_tells_of_draws_from_torchs_generator_for_items(self, target):
        report = pipeline().call_by_item(draw_torch, target=target).check()
        assert "draws from the global generator of torch," in "".join(report.problems)

    def test_check_tells_of_no_draws_from_a_generator_of_ones_own(self, torch):
        own = torch.Generator().manual_seed(3)
        report = pipeline().call_it(lambda: torch.rand(1, generator=own)).check()
        assert report.problems == []

    def test_a_draw_in_order_is_something_to_look_at(self):
        report = pipeline().call_in_order(draw_torch).check()
        assert report.problems == []
        assert "draws from the global generator of torch;" in "".join(report.look_at)

    def test_torchs_generator_is_as_before_a_check(self, torch):
        before = torch.get_rng_state()
        pipeline().call_it(draw_torch).check()
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.tensorflow
class TestTensorFlow:
    @pytest.fixture(autouse=True)
    def tf(self):
        return pytest.importorskip("tensorflow")

    @pytest.mark.parametrize(
        "draw",
        [
            lambda tf: tf.random.uniform([2]),
            lambda tf: tf.random.normal([2], seed=3),
            lambda tf: tf.random.shuffle([1, 2, 3]),
            lambda tf: tf.random.get_global_generator().normal([2]),
            lambda tf: tf.function(lambda: tf.random.uniform([2]))(),
        ],
    )
    def test_check_tells_of_draws_from_its_generators(self, tf, draw):
        tf.random.get_global_generator()
        report = pipeline().call_it(lambda: draw(tf)).check()
        assert "draws from the global generator of tensorflow," in "".join(report.problems)

    def test_check_tells_of_draws_for_items(self, tf):
        report = pipeline().call_by_item(lambda: tf.random.uniform([2])).check()
        assert "draws from the global generator of tensorflow," in "".join(report.problems)

    def test_check_tells_of_no_draws_without_state(self, tf):
        report = pipeline().call_it(lambda: tf.random.stateless_uniform([2], (1, 2))).check()
        assert report.problems == []

    def test_check_tells_of_draws_from_keras(self):
        keras = pytest.importorskip("keras")
        report = pipeline().call_it(lambda: keras.random.uniform((2,))).check()
        assert "draws from the global generator of" in "".join(report.problems)

    def test_its_functions_are_as_before_a_check(self, tf):
        seeds = sys.modules["tensorflow.python.framework.random_seed"]
        before = seeds.get_seed
        pipeline().call_it(lambda: tf.random.uniform([2])).check()
        assert seeds.get_seed is before
