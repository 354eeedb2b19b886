"""Words of older batchflows: they still work, and the classes do not show them.

`cv_split` is tested with the other splits.
"""

import pydoc
import warnings

import numpy as np
import pytest

from batchflow import (
    ArrayBatch,
    B,
    Dataset,
    Pipeline,
    UnknownAttributeError,
    UnknownNameError,
    V,
    action,
)
from batchflow.legacy import OF_DATASETS, OF_PIPELINES


class Numbers(ArrayBatch):
    @action
    def double(self):
        self.data = self.data * 2
        return self


@pytest.fixture
def dataset():
    return Dataset(["a", "b", "c"], Numbers, preloaded=np.array([1, 2, 3]))


# ---- pipelines


def test_run_now_runs(dataset):
    pipeline = dataset.p.init_variable("n", 0).update(V("n"), V("n") + B.data.sum())
    assert pipeline.run_now(2, prefetch=2) is pipeline
    assert pipeline.v("n") == 6


def test_init_variables_declares_several():
    pipeline = Pipeline().init_variables({"loss": {"init": list}, "step": 0, "settings": {"a": 1}})
    assert [pipeline.v(name) for name in ("loss", "step", "settings")] == [[], 0, {"a": 1}]


@pytest.mark.parametrize("names", ["one", ["one", "two"]])
def test_init_variables_takes_names(names):
    assert Pipeline().init_variables(names).v("one") is None


def test_set_v_sets(dataset):
    pipeline = dataset.p.init_variable("n", 0)
    pipeline.set_v("n", 5)
    assert pipeline.get_variable("n") == 5


@pytest.mark.parametrize(("names", "left"), [("one", ["two"]), (["one", "two"], []), (None, [])])
def test_delete_variables_takes_declarations_back(names, left):
    pipeline = Pipeline().init_variables(["one", "two"])
    fewer = pipeline.delete_variables(names)
    assert [name for name in ("one", "two") if fewer.has_variable(name)] == left
    assert pipeline.has_variable("one")


def test_delete_variables_refuses_what_is_not_declared():
    with pytest.raises(UnknownNameError, match="Did you mean 'one'"):
        Pipeline().init_variable("one").delete_variables(["onee"])


@pytest.mark.parametrize("name", OF_PIPELINES)
@pytest.mark.parametrize("make", [Pipeline, lambda: Dataset(2).p], ids=["piece", "over a dataset"])
def test_completion_and_help_know_an_older_word(name, make):
    pipeline = make()
    assert name in dir(pipeline)
    text = pydoc.plain(pydoc.render_doc(getattr(pipeline, name)))
    assert f"{name}(" in text
    assert "(pipeline" not in text
    assert getattr(pipeline, name).__doc__.splitlines()[0] in text


def test_a_misspelt_older_word_is_recognized(dataset):
    with pytest.raises(UnknownAttributeError, match="Did you mean 'delete_variables'"):
        dataset.p.delete_variabels  # noqa: B018


# ---- datasets


USES = {
    "mark": lambda d: d.shard(1, 3).mark == d.shard(1, 3).shard_spec,
    "ids": lambda d: d.ids(slice(1, 3)).tolist() == ["b", "c"],
    "positions": lambda d: d.positions(["c", "a"]).tolist() == [2, 0],
    "make_batch": lambda d: d.make_batch(np.array([2, 0]), {}).data.tolist() == [3, 1],
}


@pytest.mark.parametrize("name", OF_DATASETS)
def test_a_word_of_the_engine_works_and_warns(name, dataset):
    with pytest.warns(
        DeprecationWarning, match=rf"dataset\.{name} goes .*; use dataset\."
    ) as caught:
        assert USES[name](dataset)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("name", OF_DATASETS)
def test_a_dataset_shows_no_words_of_the_engine(name, dataset):
    assert name not in dir(dataset)


def test_a_run_uses_no_older_words(dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset.shard(0, 2).p.double().join(dataset).do_nothing().run(1, prefetch=2)


@pytest.mark.parametrize("name", [*OF_DATASETS, "run_now"])
def test_a_dataset_of_users_may_have_words_of_its_own(name):
    kind = type("Own", (Dataset,), {name: "mine"})
    dataset = kind(4, Numbers, preloaded=np.arange(4))
    assert getattr(dataset, name) == "mine"
    assert [batch.data.tolist() for batch in dataset.p.double().gen_batch(2)] == [[0, 2], [4, 6]]
