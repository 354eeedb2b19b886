"""Calls of an older batchflow that look the same here: they mean the same, or are refused."""

import kit
import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    B,
    Batch,
    Config,
    Dataset,
    DatasetIndex,
    FilesIndex,
    UnknownAttributeError,
    action,
)


class Net:
    def train(self, x, **options):
        self.options = options

    predict = train


def first_and_rest(x, *rest):
    return x + sum(rest)


# ---- several sources of apply_parallel


def test_a_source_that_would_fall_into_more_arguments_is_refused():
    pipeline = kit.rows(3).p.apply_parallel(first_and_rest, src=("x", "y"), dst="x")
    with pytest.raises(
        ArgumentTypeError, match=r"behind x would fall into \*rest.*src=\['x', 'y'\]"
    ):
        pipeline.run(3)


@pytest.mark.parametrize("function", [lambda *items: sum(items), lambda x, y: x + y, np.add])
def test_a_function_of_all_sources_gets_them(function):
    batch = kit.rows(3).p.apply_parallel(function, src=("x", "y"), dst="x").next_batch(3)
    assert batch.x.tolist() == [0, 2, 4]


def test_map_gives_a_function_what_it_is_given():
    batch = kit.rows(3).p.map(first_and_rest, src=("x", "y"), dst="x").next_batch(3)
    assert batch.x.tolist() == [0, 2, 4]


# ---- load


class One(Batch):
    components = "x"


@pytest.mark.parametrize("src", [([5],), (np.array([5]),)])
def test_a_tuple_of_one_source_is_unpacked_for_one_item_as_for_more(src):
    for batch in (
        One([7]).load(src),
        One([7], src),
        Dataset([7], One, preloaded=src).next_batch(1),
    ):
        assert np.asarray(batch.x).tolist() == [5]


def test_a_row_of_one_item_stays_one():
    assert One([7]).load(([5, 6],)).x == ([5, 6],)
    assert One([7]).load((5,)).x == (5,)


# ---- config


@pytest.mark.parametrize("read", [Config.get, Config.__getitem__])
def test_several_paths_are_refused_with_the_way_to_read_them(read):
    with pytest.raises(ArgumentTypeError, match=r"For several: \[config\.get\(path\)"):
        read(Config(a=1, b=2), ["a", "b"])


def test_what_is_no_path_is_not_in_a_config():
    assert 5 not in Config(a=1)
    assert ["a"] not in Config(a=1)
    with pytest.raises(ArgumentTypeError, match="is a string, got 5"):
        Config(a=1).get(5)


# ---- models


@pytest.mark.parametrize("options", [{}, {"config": {"units": 1}}])
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_model_without_a_name_is_refused(mode, options):
    with pytest.raises(
        ArgumentTypeError, match=r"name of the model comes first: init_model\('net'"
    ):
        kit.rows(3).p.init_model(mode, Net, **options)


def test_the_old_name_of_the_class_is_told():
    with pytest.raises(ArgumentTypeError, match="Instead: init_model\\(name, ModelClass, mode\\)"):
        kit.rows(3).p.init_model("net", model_class=Net)


def test_a_model_may_have_the_name_of_a_mode():
    pipeline = kit.rows(3).p.init_model("dynamic", Net, mode="static").train_model("dynamic", B.x)
    assert pipeline.run(3).m("dynamic").options == {}


@pytest.mark.parametrize("word", ["train_model", "predict_model"])
def test_a_lock_is_no_argument_of_a_model(word):
    with pytest.raises(
        ArgumentTypeError, match=r"use_lock .* Steps that share something are ordered"
    ):
        getattr(kit.rows(3).p.init_model("net", Net), word)("net", B.x, use_lock=True)


# ---- words of classes


@pytest.mark.parametrize(
    ("cls", "word", "instead"),
    [
        (Dataset, "from_dataset", "create_subset"),
        (Dataset, "build_index", "Dataset(index, MyBatch)"),
        (DatasetIndex, "from_index", "DatasetIndex(ids)"),
        (DatasetIndex, "build_index", "DatasetIndex(ids)"),
        (DatasetIndex, "concat", "DatasetIndex([*first.indices"),
        (FilesIndex, "from_index", "DatasetIndex(ids)"),
        (Batch, "from_data", "MyBatch(index, data)"),
        (One, "from_batch", "MyBatch(batch.index, batch.data)"),
    ],
)
def test_a_word_of_a_class_says_what_to_write(cls, word, instead):
    with pytest.raises(UnknownAttributeError) as caught:
        getattr(cls, word)
    assert f"{cls.__name__} has no {word!r}. Instead: " in str(caught.value)
    assert instead in str(caught.value)


def test_a_class_with_such_a_word_of_its_own_has_it():
    class Own(Batch):
        components = "from_data"

        @action
        def from_batch(self):
            return self

    batch = Own(2).from_batch()
    batch.from_data = [1, 2]
    assert batch.from_data == [1, 2]
