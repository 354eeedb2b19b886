"""`executor="processes"`, attacked: what a run shows is what it shows in one thread."""

import importlib
import os
import sys
import threading

import numpy as np
import pytest

from batchflow import ArrayBatch, B, C, Dataset, V, action
from batchflow.testing import digest

FAR = {"executor": "processes", "n_workers": 1, "prefetch": 2}


class Images(ArrayBatch):
    components = "images"

    @action
    def flip(self):
        self.images = self.images[:, ::-1]
        return self

    @action
    def turn(self):
        self.images = self.images.transpose(0, 2, 1)
        return self

    @action
    def crop(self):
        self.images = self.images[:, 1:-1, 2:-1]
        return self

    @action
    def thin(self):
        self.images = self.images[:, :, ::-2]
        return self

    @action
    def spread(self):
        self.images = np.broadcast_to(self.images[:1], self.images.shape)
        return self

    @action
    def keep_first(self):
        self.first = self.images[0]
        return self

    @action(singleton=True)
    def double(self):
        self.images *= 2
        return self

    @action
    def keep(self, other):
        self.other = other
        return self

    @action
    def keep_self(self):
        self.original = self
        return self

    @action
    def keep_pipeline(self):
        self.whole = self.pipeline
        return self

    @action(singleton=True)
    def project(self):
        images = self.images
        weights = np.linspace(0.1, 1, images.shape[-1])
        told = self.pipeline.v("told")
        told.append(digest(images @ weights, images[0] @ images[0].T, images.sum()))
        return self

    @action(singleton=True)
    def add_up(self):
        self.pipeline.v("told").append(float(self.images.mean(axis=0).sum()))
        return self


@pytest.fixture
def dataset():
    images = np.random.default_rng(0).normal(size=(32, 40, 40))
    return Dataset.from_arrays(Images, images=images)


def same(told):
    here = told({})
    assert told(FAR) == here


# ---- arrays


@pytest.mark.parametrize("step", ["flip", "crop", "thin", "spread"])
def test_products_and_sums_of_a_view_have_the_same_bits(dataset, step):
    def told(options):
        p = getattr(dataset.p.init_variable("told", init=list), step)().project()
        return p.run(8, **options).v("told")

    same(told)


def test_a_sum_over_a_view_has_the_same_bits():
    images = np.random.default_rng(0).normal(size=(24, 5, 7))
    dataset = Dataset.from_arrays(Images, images=images)

    def told(options):
        p = dataset.p.init_variable("told", init=list).turn().thin().add_up()
        return p.run(4, **options).v("told")

    same(told)


def test_a_view_of_a_component_comes_back_as_an_array_of_its_own(dataset):
    """As the page on worker processes says."""
    for batch in dataset.p.keep_first().gen_batch(8, **FAR):
        assert np.array_equal(batch.first, batch.images[0])
        assert not np.shares_memory(batch.first, batch.images)


# ---- what ties a batch to its run


def test_a_joined_batch_may_be_kept(dataset):
    def told(options):
        p = dataset.p.join(dataset.p.flip()).keep()
        return [
            (digest(np.array(b.other.images)), b.other.dataset is dataset, b.other.number)
            for b in p.gen_batch(8, **options)
        ]

    same(told)


def test_a_batch_may_keep_itself(dataset):
    same(lambda options: [b.original is b for b in dataset.p.keep_self().gen_batch(8, **options)])


def test_a_batch_may_keep_its_pipeline(dataset):
    def told(options):
        p = dataset.p.init_variable("n", 5).keep_pipeline()
        return [batch.whole.v("n") for batch in p.gen_batch(8, **options)]

    same(told)


# ---- what stays


def test_an_entry_of_the_config_that_no_step_reads_need_not_travel(dataset):
    p = dataset >> dataset.pipeline({"lock": threading.Lock(), "size": 3}).flip()
    assert len(list(p.gen_batch(8, **FAR))) == 4


def test_an_entry_of_the_config_that_cannot_travel_is_named(dataset):
    p = dataset.pipeline({"lock": threading.Lock()}).call(lambda lock: 1, C("lock"))
    with pytest.raises(TypeError, match="'lock'"):
        p.run(8, **FAR)


# ---- notebooks


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module, and imports or reloads it."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"edited_{os.getpid()}"

    def written(text):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.reload(sys.modules[name]) if name in sys.modules else _imported(name)

    yield written
    sys.modules.pop(name, None)


def _imported(name):
    return importlib.import_module(name)


def test_a_module_that_was_edited_and_reloaded_is_the_new_one_in_workers(dataset, module):
    def told(tools):
        p = dataset.p.init_variable("told", init=list).call(tools.answer, save_to=B.answer)
        return [batch.answer for batch in p.gen_batch(16, **FAR)]

    assert told(module("def answer():\n    return 1\n")) == [1, 1]
    assert told(module("def answer():\n    return 'another'\n")) == ["another", "another"]


def test_another_folder_and_another_environment_are_those_of_the_next_run(
    dataset, tmp_path, monkeypatch
):
    def told():
        p = dataset.p.call(lambda: (os.getcwd(), os.environ.get("ABC")), save_to=B.place)
        return [batch.place for batch in p.gen_batch(32, **FAR)]

    assert told() == [(os.getcwd(), os.environ.get("ABC"))]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABC", "here")
    assert told() == [(os.getcwd(), "here")]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), MemoryError()]
)
def test_errors_of_every_kind_come_back(dataset, error):
    def fails(rows):
        raise error

    def told(options):
        p = dataset.p.call(fails, B.images)
        with pytest.raises(BaseException) as raised:
            p.run(8, seed=1, **options)
        notes = [n for n in raised.value.__notes__ if not n.startswith("in a worker process")]
        return type(raised.value), str(raised.value), notes

    same(told)


def test_an_argument_that_cannot_be_unpacked_is_told_with_its_place(dataset):
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    p = dataset.p.call(lambda odd: None, Odd(1, 2))
    with pytest.raises(Exception) as raised:
        p.run(8, **FAR)
    told = str(raised.value) + "\n".join(getattr(raised.value, "__notes__", ()))
    assert "'call'" in told or "call(" in told


def test_variables_and_the_generator_are_as_in_one_thread(dataset):
    def told(options):
        p = dataset.p.init_variable("d", {"a": [1, 2]}).init_variable("told", init=list)
        p = p.call(lambda d, rng: (d["a"][0], rng.random()), V("d"), B.rng, save_to=B.z)
        p = p.update(V("told", "a"), B.z).update(V("told", "a"), B.rng)
        got = p.run(8, seed=2, **options).v("told")
        return [value if isinstance(value, tuple) else value.random() for value in got]

    same(told)
