"""Faults of an older batchflow in its language: A18, B11, B12, C12 to C16, C20."""

import gc
import pathlib

import numpy as np
import pytest

from batchflow import B, Dataset, I, Pipeline, V

from .conftest import MyBatch, each_prefetch, run_program

DATASET = Dataset(8, MyBatch)


class Model:
    """What the old examples call M."""

    def __init__(self, a=0):
        self.a = a
        self.n_steps = 0

    def train(self, *args):
        self.n_steps += 1

    def save(self, path):
        pathlib.Path(path).write_text(str(self.n_steps))

    def load(self, path):
        self.n_steps = int(pathlib.Path(path).read_text())


# ---- A18: the steps after the last batch


@pytest.fixture
def log():
    return []


@each_prefetch
def test_a18_after_is_taken_on_failure(log, prefetch):
    with pytest.raises(ValueError, match="boom at 3"):
        DATASET.p.boom(at=3).after.call(log.append, "after").run(1, prefetch=prefetch)
    assert log == ["after"]


@each_prefetch
def test_a18_after_is_taken_on_break(log, prefetch):
    for _ in DATASET.p.ok().after.call(log.append, "after").gen_batch(1, prefetch=prefetch):
        break
    gc.collect()
    assert log == ["after"]


@each_prefetch
def test_a18_after_is_taken_on_stop_pipeline(log, prefetch):
    DATASET.p.stop(at=3).after.call(log.append, "after").run(1, prefetch=prefetch)
    assert log == ["after"]


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a18_after_is_taken_on_ctrl_c(prefetch):
    done = run_program(f"""
        try:
            p.ctrl_c(at=3).after.print("after").run(1, prefetch={prefetch})
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["after", "interrupted"], "")


@each_prefetch
def test_a18_after_is_taken_once_where_nothing_goes_wrong(log, prefetch):
    DATASET.p.ok().after.call(log.append, "after").run(1, n_epochs=2, prefetch=prefetch)
    assert log == ["after"]


# ---- B11: declaring, resetting and loading models


def test_b11_reset_before_the_first_use_does_no_harm():
    pipeline = DATASET.p.init_model("m", Model).train_model("m")
    assert pipeline.reset("models").run(4).m("m").n_steps == 2


def test_b11_a_model_is_loaded_as_static(tmp_path):
    (tmp_path / "m").write_text("7")
    chain = DATASET.p.load_model("m", Model, "static", tmp_path / "m")
    assert chain.train_model("m").run(4).m("m").n_steps == 9


def test_b11_a_model_is_loaded_as_dynamic(tmp_path):
    (tmp_path / "m").write_text("7")
    chain = DATASET.p.load_model("m", Model, "dynamic", tmp_path / "m")
    assert chain.train_model("m").run(4).m("m").n_steps == 9


def test_b11_loading_is_once_without_another_word(tmp_path):
    (tmp_path / "m").write_text("7")
    chain = DATASET.p.init_model("m", Model).load_model("m", tmp_path / "m").train_model("m")
    assert chain.run(4).run(4).m("m").n_steps == 11


def test_b11_a_word_that_is_gone_names_the_one_that_is_there():
    with pytest.raises(AttributeError, match=r"Instead: load_model\(name, path\)"):
        DATASET.p.load_model_once("m", Model)


def test_b11_arguments_in_the_order_of_an_older_version_are_refused_by_name():
    with pytest.raises(TypeError, match=r"init_model\('m', ModelClass, 'dynamic'"):
        DATASET.p.init_model("dynamic", Model, "m")


def test_b11_an_estimator_gets_its_config():
    linear = pytest.importorskip("sklearn.linear_model")
    chain = DATASET.p.init_model("m", linear.SGDRegressor, config={"alpha": 0.5})
    assert chain.m("m").alpha == 0.5


# ---- B12: expressions in the config of a model


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@each_prefetch
def test_b12_a_variable_in_the_config_is_evaluated(mode, prefetch):
    chain = DATASET.p.init_variable("v", 5).init_model("m", Model, mode, config={"a": V("v")})
    assert chain.train_model("m").run(2, prefetch=prefetch).m("m").a == 5


def test_b12_a_value_inside_of_a_container_is_evaluated():
    config = {"a": {"units": [V("v"), V("v") * 2]}}
    chain = DATASET.p.init_variable("v", 5).init_model("m", Model, config=config)
    assert chain.m("m").a == {"units": [5, 10]}


def test_b12_the_config_that_was_given_stays_as_it_was():
    config = {"a": V("v")}
    chain = DATASET.p.init_variable("v", 5).init_model("m", Model, config=config)
    assert chain.m("m").a == 5
    assert isinstance(config["a"], V)


def test_b12_a_config_that_is_changed_later_changes_nothing():
    config = {"a": 1}
    chain = DATASET.p.init_model("m", Model, config=config)
    config["a"] = 2
    assert chain.m("m").a == 1


# ---- C12, C13: what is done to a child does not reach its parent

CHILDREN = {
    "before": lambda p: p.before.call(len, []).main,
    "after": lambda p: p.after.call(len, []).main,
    "once": lambda p: p.once.call(len, []).main,
    "add_namespace": lambda p: p.add_namespace("time"),
    "init_variable": lambda p: p.init_variable("v"),
    "init_variables": lambda p: p.init_variables(["v"]),
    "delete_variables": lambda p: p.delete_variables(),
    "init_model": lambda p: p.init_model("m", Model),
    "import_model": lambda p: p.import_model("m", p.init_model("m", Model)),
    "load_model": lambda p: p.load_model("m", Model, path="file"),
    "config": lambda p: p << {"a": 1},
}
each_child = pytest.mark.parametrize("make", CHILDREN.values(), ids=CHILDREN)


@each_child
def test_c12_the_parent_stays_as_it_was(make):
    parent = DATASET.p.init_variable("old", 1).ok()
    shown = repr(parent)
    make(parent)
    assert parent == DATASET.p.init_variable("old", 1).ok()
    assert repr(parent) == shown


@each_child
def test_c13_a_new_pipeline_is_given(make):
    parent = DATASET.p.init_variable("old", 1).ok()
    child = make(parent)
    assert isinstance(child, Pipeline)
    assert child is not parent
    assert child != parent


def test_c12_a_step_of_a_child_at_a_moment_is_not_taken_by_its_parent(log):
    base = DATASET.p.ok()
    child = base.ok()
    child.before.call(log.append, "hook")
    base.run(4)
    child.run(4)
    assert log == []


def test_c12_a_namespace_of_a_child_is_unknown_to_its_parent():
    base = DATASET.p.ok()
    base.ok().add_namespace("time")
    with pytest.raises(AttributeError, match="no action 'monotonic'"):
        base.monotonic()


# ---- C14, C15: variables and their reset


def count(dataset):
    return dataset.p.init_variable("n", 0).update(V("n"), V("n") + 1)


@each_prefetch
def test_c14_after_a_reset_runs_go_on_counting(prefetch):
    pipeline, seen = count(Dataset(3, MyBatch)), []
    for reset in (False, False, True, False):
        if reset:
            pipeline.reset("vars")
        seen.append(pipeline.run(1, prefetch=prefetch).v("n"))
    assert seen == [3, 6, 3, 6]


@pytest.mark.parametrize("word", ["vars", "variables", "all"])
@pytest.mark.parametrize(
    ("initial", "mode", "value"),
    [
        (set(), "u", [1]),
        ([], "a", 1),
        ({}, "u", {"a": 1}),
        ({"deep": []}, "u", {"deep": [1]}),
    ],
)
def test_c15_a_reset_gives_a_fresh_copy(initial, mode, value, word):
    pipeline = DATASET.p.init_variable("s", initial).update(V("s", mode), value).run(8)
    assert pipeline.v("s") != initial
    assert pipeline.reset(word).v("s") == initial


def test_c15_a_reset_gives_a_fresh_array():
    def add(array):
        array += 3

    pipeline = DATASET.p.init_variable("s", np.zeros(2)).call(add, V("s")).update(V("s")[0], 1)
    assert pipeline.run(8).v("s").tolist() == [1, 3]
    assert pipeline.reset("vars").v("s").tolist() == [0, 0]


def test_c15_a_change_of_the_value_that_was_given_changes_nothing():
    given = [1]
    pipeline = DATASET.p.init_variable("s", given)
    given.append(2)
    assert pipeline.v("s") == [1]


# ---- C16: counting inside of other pipelines


@each_prefetch
@pytest.mark.parametrize("current", [I.current, I("c")])
def test_c16_an_inner_pipeline_counts_its_batches(prefetch, current):
    inner = DATASET.p.update(B.n, current)
    chain = DATASET.p.join(inner).call(lambda joined: joined.n, save_to=B.n)
    assert [batch.n for batch in chain.gen_batch(2, prefetch=prefetch)] == [1, 2, 3, 4]


@each_prefetch
@pytest.mark.parametrize("way", ["merge", "concat"])
def test_c16_a_pipeline_that_another_one_reads_counts_its_batches(prefetch, way, log):
    inner = DATASET.p.call(log.append, I.current)
    getattr(DATASET.p, way)(inner).run(2, prefetch=prefetch)
    assert sorted(log) == [1, 2, 3, 4]


# ---- C20: a bar over batches that are left out


@each_prefetch
@pytest.mark.parametrize("bar", [True, V("n")])
def test_c20_a_bar_goes_with_batches_that_are_discarded(prefetch, bar, capsys):
    chain = count(DATASET).filter(B.number % 2 == 0, over="batches")
    assert chain.run(2, bar=bar, prefetch=prefetch).v("n") == 4


def test_c20_a_bar_goes_with_a_run_whose_batches_are_all_discarded(capsys):
    DATASET.p.discard_batch().run(2, bar=True)
    assert "waited" in capsys.readouterr().err
