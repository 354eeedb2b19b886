"""What a checkpoint holds, and what is noticed where a run goes on: corners, wrong once."""

import functools
import json
import os
import random

import numpy as np
import pytest
from own_process import run_alone

from batchflow import ArrayBatch, B, Checkpoint, Dataset, Keep, action, model
from batchflow.checkpoints.store import newest
from batchflow.errors import ArgumentTypeError, ArgumentValueError


class Momentum:
    """Changes the arrays of a model in place, and so has to hold the same ones."""

    def __init__(self, arrays):
        self.arrays, self.speeds = arrays, [np.zeros_like(one) for one in arrays]

    def step(self, slope):
        for array, speed in zip(self.arrays, self.speeds, strict=True):
            speed *= 0.9
            speed += slope
            array -= speed


class Rows(ArrayBatch):
    components = "x"

    @model()
    def line():
        arrays = [np.zeros(3), np.ones(2)]
        return {"arrays": arrays, "first": arrays[0], "by": Momentum(arrays)}

    @action
    def noise(self, *args, **kwargs):
        self.x = self.x + self.rng.normal(size=len(self))
        return self

    @action(model="line", singleton=True)
    def train(self, line):
        line["by"].step(self.x.mean())
        return self

    @action(singleton=True)
    def tell(self):
        self.pipeline.v("told").append(float(self.x[0]))
        return self


def rows(n=24):
    return Dataset.from_arrays(Rows, x=np.arange(float(n)))


def goes_on(make, outcome, folder):
    """Check that a run which is left behind its second batch ends as a whole one does."""
    whole = make()
    whole.run(4, seed=1)
    expected = outcome(whole)
    with make().gen_batch(4, seed=1, checkpoint=folder) as run:
        for _ in range(2):
            next(run)
    again = make()
    again.run(4, seed=1, checkpoint=folder)
    assert outcome(again) == expected


def test_an_optimizer_goes_on_with_the_arrays_of_its_model(tmp_path):
    def make():
        Rows.models.reset("line")
        return rows().p.noise().train()

    def outcome(pipeline):
        line = pipeline.m("line")
        assert line["first"] is line["arrays"][0] is line["by"].arrays[0]
        return [one.tolist() for one in (*line["arrays"], *line["by"].speeds)]

    goes_on(make, outcome, tmp_path)


def test_views_of_the_parameters_of_a_model_go_on(tmp_path):
    class Flat(Rows):
        @model()
        def line():
            flat = np.zeros(6)
            return {"w": flat[:4].reshape(2, 2), "b": flat[4:], "flat": flat}

        @action(model="line", singleton=True)
        def train(self, line):
            line["flat"] *= 0.5
            line["w"] += self.x.mean()
            line["b"] -= line["w"].sum(axis=0)
            return self

    def make():
        Flat.models.reset("line")
        return Dataset.from_arrays(Flat, x=np.arange(24.0)).p.noise().train()

    goes_on(make, lambda p: p.m("line")["flat"].tolist(), tmp_path)


class Adding:
    def __init__(self):
        self.sum, self.by = 0.0, np.add  # a function among the attributes is a constant

    def add(self, value):
        self.sum = float(self.by(self.sum, value))
        return self.sum


def counting():
    sums = [0.0]

    def add(value):
        sums[0] += value
        return sums[0]

    return add


def calling_each_other():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    return lambda value: float(even(int(value)))


class Drawing(random.Random):
    pass


@pytest.mark.parametrize("drawing", [random.Random, Drawing])
def test_a_generator_of_python_in_a_model_goes_on_or_is_refused(tmp_path, drawing):
    generator = drawing(3)

    def make():
        generator.seed(3)
        return calls(lambda: functools.partial(apply, generator))

    if drawing is random.Random:
        goes_on(make, lambda p: p.v("told"), tmp_path)
    else:
        with pytest.raises(ArgumentTypeError, match=r"'step'\[1\] is a Drawing, "):
            goes_on(make, lambda p: p.v("told"), tmp_path)


class Numbers(bytearray):
    def __call__(self, value):
        self.append(int(value) % 256)
        return len(self)


def test_a_model_with_a_state_that_is_no_attribute_is_refused(tmp_path):
    with pytest.raises(ArgumentTypeError, match="'step' is a Numbers, which holds more than att"):
        calls(Numbers).run(4, checkpoint=tmp_path)


def apply(generator, value):
    return value + generator.random()


FUNCTIONS = {
    "a closure": counting,
    "a method": lambda: Adding().add,
    "a partial": lambda: functools.partial(Adding.add, Adding()),
    "a function with a default": lambda: lambda value, held=Adding(): held.add(value),  # noqa: B008
    "functions that call each other": calling_each_other,
}


def calls(make):
    class Calling(Rows):
        @model()
        def step():
            return make()

        @action(model="step", singleton=True)
        def take(self, step):
            self.pipeline.v("told").append(step(abs(float(self.x[0]))))
            return self

    dataset = Dataset.from_arrays(Calling, x=np.arange(24.0))
    return dataset.p.init_variable("told", init=list).noise().take()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_holds_goes_on(tmp_path, name):
    goes_on(lambda: calls(FUNCTIONS[name]), lambda p: p.v("told"), tmp_path)


def test_a_function_that_changes_its_own_variables_is_refused(tmp_path):
    def make():
        total = 0.0

        def add(value):
            nonlocal total
            total += value
            return total

        return add

    with pytest.raises(
        ArgumentTypeError, match="the model 'step' is a function that assigns to total"
    ):
        calls(make).run(4, checkpoint=tmp_path)


def test_variables_that_are_one_object_are_one_again(tmp_path):
    def make():
        shared = []
        p = rows().p.init_variable("told", init=lambda: shared)
        return p.init_variable("same", init=lambda: shared).noise().tell()

    goes_on(make, lambda p: (p.v("told"), p.v("same")), tmp_path)


def long(last):
    return (B.x * 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15 + 16) * last


CHANGES = {
    "a long text": ("x" * 200 + "a", "x" * 200 + "b"),
    "a long expression": (long(2), long(3)),
    "an array in an expression": (B.x[0] + np.arange(5), B.x[0] + np.arange(5)[::-1]),
    "a set": ({"a", "b"}, {"a", "c"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_arguments_are_compared_to_their_ends(tmp_path, change):
    one, other = CHANGES[change]
    with rows().p.noise(one).gen_batch(4, checkpoint=tmp_path) as run:
        next(run)
    rows().p.noise(one).gen_batch(4, checkpoint=tmp_path).close()
    with pytest.raises(ArgumentValueError, match="steps or their arguments are others"):
        rows().p.noise(other).gen_batch(4, checkpoint=tmp_path)


def test_a_set_is_the_same_in_every_process(tmp_path):
    program = (
        "import sys; from batchflow import Dataset\n"
        "p = Dataset(8).p.call(print, {'a', 'b', 'c', 'd'})\n"
        "with p.gen_batch(4, checkpoint=sys.argv[1]) as run: next(run)"
    )
    for seed in "12":
        run_alone(program, tmp_path, env={"PYTHONHASHSEED": seed})


def test_the_position_is_small_however_many_datasets_are_mixed():
    run = Dataset.mix([rows(9) for _ in range(200)], [1 + n / 3 for n in range(200)]).p.gen_batch(
        4, shuffle=True, seed=1
    )
    next(run)
    assert len(json.dumps(run.state_dict())) < 1024


def test_what_is_saved_now_is_on_the_disk(tmp_path):
    with rows().p.noise().gen_batch(4, checkpoint=tmp_path) as run:
        next(run)
        run.checkpoint()
        assert newest(str(tmp_path)).step == 1


def test_next_batch_is_saved_and_goes_on(tmp_path):
    def numbers(n):
        p = rows().p.noise()
        found = [p.next_batch(4, seed=1, checkpoint=tmp_path).number for _ in range(n)]
        p.reset("iter")
        return found

    assert numbers(3) + numbers(2) == [0, 1, 2, 3, 4]


def test_a_manifest_tells_the_variables_that_are_numbers(tmp_path):
    values = {
        "a": 1.5,
        "b": [1, 2],
        "c": 10**400,
        "d": "3",
        "e": np.ones(2),
        "f": np.array(4),
        "g": (),
    }
    p = rows().p
    for name, value in values.items():
        p = p.init_variable(name, value)
    with p.gen_batch(4, checkpoint=tmp_path) as run:
        next(run)
    assert newest(str(tmp_path)).manifest["values"] == {"a": 1.5, "b": 2.0, "f": 4.0}


def test_a_best_one_by_a_variable_that_is_not_there_is_refused_at_the_start(tmp_path):
    saving = Checkpoint(tmp_path, keep=Keep(best=("los", "min", 1)))
    with pytest.raises(ArgumentValueError, match=r"no variable 'los'. Did you mean 'loss'"):
        rows().p.init_variable("loss", 0.0).gen_batch(4, checkpoint=saving)


HOSTILE = {
    "deep": "[" * 200_000,
    "a name with NUL": {"files": {"a\0b": {"size": 1, "sha256": "x"}}},
    "a name that is no text": {"files": {"\ud800": {"size": 1, "sha256": "x"}}},
    "a long name": {"files": {"a" * 5000: {"size": 1, "sha256": "x"}}},
    "no files": {},
    "another step": {"files": {}, "step": 3},
    "no run": {"files": {}, "run_id": None},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_left_out(tmp_path, name):
    with rows().p.gen_batch(4, checkpoint=tmp_path) as run:
        next(run)
    folder, content = tmp_path / "step-000000000099", HOSTILE[name]
    os.mkdir(folder)
    if isinstance(content, dict):
        content = json.dumps({"format": 1, "step": 99, "run_id": "a"} | content)
    (folder / "manifest.json").write_text(content)
    with pytest.warns(UserWarning, match="a checkpoint is left out"):
        assert newest(str(tmp_path)).step == 1
