"""The words of an older batchflow: some work, of the others an error says what to write."""

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Batch,
    BatchflowError,
    C,
    Config,
    D,
    Dataset,
    DatasetIndex,
    F,
    FilesIndex,
    L,
    Pipeline,
    R,
    UnknownAttributeError,
    UnknownNameError,
    V,
    action,
)
from batchflow.batch import inbatch_parallel
from batchflow.batch.components import TAKEN
from batchflow.old_words import OLD_WORDS


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    @inbatch_parallel(init="indices", post="assemble", dst="x")
    def add(self, i, by):
        return self.get(i, "x") + by

    @action
    @inbatch_parallel(init="items", post="_assemble")
    def swap(self, item):
        return item.y, item.x

    @action
    @inbatch_parallel(init="indices", post="counted")
    def half_fails(self, i):
        if self.get_pos(None, "x", i) % 2:
            raise ValueError(i)
        return i

    def counted(self, results):
        self.y = [len(self.get_errors(results) or [])] * len(self)
        return self


IDS = ["a", "b", "c", "d"]


def rows():
    return Dataset.from_arrays(Rows, index=IDS, x=[1, 2, 3, 4], y=[10, 20, 30, 40])


@pytest.fixture
def batch():
    return rows().create_batch(["d", "b"])


# ---- words of a batch that work


def test_get_gives_parts_of_items_items_components_and_all(batch):
    assert (batch.get("b", "x"), batch.get("b").y, batch.get(component="x").tolist()) == (
        2,
        20,
        [4, 2],
    )
    assert [part.tolist() for part in batch.get()] == [[4, 2], [40, 20]]
    with pytest.raises(UnknownNameError, match="no item with the id 'a'"):
        batch.get("a", "x")


def test_get_of_a_batch_without_components():
    plain = Dataset.from_arrays(ArrayBatch, data=[5, 6]).next_batch(2)
    assert (plain.get(1), plain.get().tolist()) == (6, [5, 6])


def test_get_pos_is_the_place_in_the_batch(batch):
    assert (batch.get_pos(None, "x", "b"), batch.get_pos(batch.data, "y", "d")) == (1, 0)


def test_get_errors_gives_exceptions_or_none(batch):
    error = ValueError()
    assert (batch.get_errors([1, error, 2]), batch.get_errors([1, 2])) == ([error], None)


def test_small_words(batch):
    assert (batch.size, len(batch.items), batch.items[0].x) == (2, 2, 4)
    assert batch.array_of_nones.tolist() == [None, None]
    index = batch.index
    assert (index.size, index.index.tolist(), rows().size) == (2, ["d", "b"], 4)
    assert (B.size.get(batch), D.size.get(batch)) == (2, 4)


@pytest.mark.parametrize("make", [Batch, ArrayBatch, Rows])
def test_tools_that_look_at_all_attributes_of_a_batch_meet_no_error(make):
    batch = make(2)
    names = [name for name, _ in inspect.getmembers(batch)]
    assert "size" in names
    assert hasattr(batch, "items") == ("items" in names) == bool(batch.components)
    if not batch.components:
        batch.data = [1, 2]
    assert len(batch.items) == 2


@pytest.mark.parametrize("options", [{}, {"prefetch": 3}, {"executor": "processes"}], ids=str)
def test_calls_for_items_are_assembled(options):
    chain = rows().p.add(100).swap().half_fails()
    batches = list(chain.gen_batch(3, **options))
    assert [b.x.tolist() for b in batches] == [[10, 20, 30], [40]]
    assert [b.y.tolist() for b in batches] == [[1, 1, 1], [0]]


def test_get_works_in_worker_processes_of_items():
    assert rows().p.add(5, target="processes").next_batch(4).x.tolist() == [6, 7, 8, 9]


def test_assemble_raises_what_a_call_has_raised(batch):
    with pytest.raises(KeyError, match="mine"):
        batch.assemble([1, KeyError("mine")], dst="x")
    with pytest.raises(ArgumentTypeError, match="tuple of 2"):
        batch.assemble([1, 2])
    assert batch.assemble([7, 8], components="x").x.tolist() == [7, 8]
    assert batch.assemble([(1, 2), (3, 4)], dst=["y", "new"]).new.tolist() == [2, 4]


# ---- components that come later


@pytest.mark.parametrize(
    "options", [{}, {"prefetch": 3}, {"executor": "processes", "n_workers": 1}], ids=str
)
def test_added_components_go_with_the_batch(options):
    class Adding(Rows):
        @action
        def grow(self):
            return self.add_components(("z", "w"), init=(self.x * 2, None))

    data = Dataset.from_arrays(Adding, x=np.arange(6), y=np.arange(6))
    chain = data.p.grow().filter(B.z > 0).rebatch(2)
    batches = list(chain.gen_batch(3, **options))
    assert [b.z.tolist() for b in batches] == [[2, 4], [6, 8], [10]]
    assert batches[0].components == ("x", "y", "z", "w")
    assert batches[0].w is None
    assert batches[0].get(1, "z") == 2
    assert Adding.components == ("x", "y")


def test_added_components_go_by_label_and_are_arrays(batch):
    pandas = pytest.importorskip("pandas")
    batch.add_components("z", pandas.Series([1, 2], ["b", "d"]))
    assert batch.z.tolist() == [2, 1]
    assert isinstance(batch.add_components("w", [5, 6]).w, np.ndarray)
    with pytest.raises(ArgumentValueError, match="expected 2 items"):
        batch.add_components("u", [5, 6, 7])
    for twin in (copy.copy(batch), batch.deepcopy(), pickle.loads(pickle.dumps(batch))):
        assert (twin.z.tolist(), twin.components[-2:]) == ([2, 1], ("z", "w"))


def test_an_added_component_that_is_stored_again_goes_by_label_and_is_an_array():
    pandas = pytest.importorskip("pandas")
    labels = pandas.Series([1, 2, 3], list("abc"))
    chain = Dataset(list("cab"), Rows).p.load([0, 0, 0], dst="new")
    for again in (
        chain.load(labels, dst="new"),
        chain.load([3, 1, 2], dst="new"),
        chain.update(B.new, labels),
        chain.call(lambda: [3, 1, 2], save_to=B.new),
    ):
        new = again.next_batch(3).new
        assert isinstance(new, np.ndarray)
        assert new.tolist() == [3, 1, 2]
    with pytest.raises(ArgumentValueError, match="expected 3 items, got 2"):
        chain.update(B.new, [1, 2]).next_batch(3)


def test_a_dataset_of_a_batch_with_an_added_component_is_refused_with_the_way_out(batch):
    assert Dataset.from_batch(batch).next_batch(2).x.tolist() == batch.x.tolist()
    with pytest.raises(ArgumentTypeError, match=r"'z' was added .* name it in Rows\.components"):
        Dataset.from_batch(batch.add_components("z", [1, 2]))


def test_a_component_that_is_there_or_taken_is_refused(batch):
    for name in ("x", "rng", "add", "load", "_z"):
        with pytest.raises(ArgumentValueError):
            batch.add_components(name)
    with pytest.raises(ArgumentTypeError):
        batch.add_components("no name")
    with pytest.raises(ArgumentValueError, match="got 1 of them"):
        batch.add_components(("u", "v"), (1,))


def test_load_into_new_components():
    chain = rows().p.load(src=[5, 6, 7, 8], dst="x").load(src={name: name for name in IDS}, dst="z")
    assert (chain.next_batch(4).x.tolist(), chain.next_batch(4).z.tolist()) == ([5, 6, 7, 8], IDS)
    both = rows().p.load(src=([1, 2, 3, 4], [5, 6, 7, 8]), dst=("y", "w")).next_batch(4)
    assert (both.y.tolist(), both.w.tolist()) == ([1, 2, 3, 4], [5, 6, 7, 8])
    with pytest.raises(ArgumentTypeError, match="another name of components"):
        rows().p.load(src=[1, 2, 3, 4], dst="x", components="x").next_batch(4)
    with pytest.raises(UnknownNameError, match="Did you mean 'labels'"):
        Dataset(2, type("Named", (Batch,), {"components": "labels"})).p.load(
            src=[1, 2], dst="label"
        ).next_batch(2)


def test_components_may_be_a_property():
    class Old(ArrayBatch):
        @property
        def components(self):
            return "images", "masks"

    class Young(Old):
        pass

    for cls in (Old, Young):
        assert cls.components == ("images", "masks")
        made = Dataset.from_arrays(cls, images=[1, 2], masks=[3, 4]).next_batch(2)
        assert (made.images.tolist(), made[1].masks) == ([1, 2], 4)


def test_a_property_that_needs_a_batch_is_refused():
    with pytest.raises(ArgumentTypeError, match="the same for all batches"):

        class Old(Batch):
            @property
            def components(self):
                return self.names


def test_a_batch_is_made_with_data():
    made = Rows(["a", "b"], {"x": [1, 2]})
    assert (made.x.tolist(), made.y) == ([1, 2], None)
    assert Rows(["a", "b"], ([1, 2], [3, 4])).y.tolist() == [3, 4]
    assert ArrayBatch(2, preloaded=[5, 6]).data.tolist() == [5, 6]


def test_a_constructor_may_pass_on_its_data():
    class Old(Rows):
        def __init__(self, index, preloaded=None, *args, **kwargs):
            super().__init__(index, preloaded)
            self.seen = True

    chain = Dataset.from_arrays(Old, x=[1, 2], y=[3, 4]).p
    assert (chain.next_batch(2).x.tolist(), Old([5], {"x": [1]}).x.tolist()) == ([1, 2], [1])


# ---- V.name, attributes of a dataset


def test_a_variable_by_its_name():
    chain = rows().p.init_variable("loss", []).init_variable("get", 1)
    chain = chain.call(np.sum, B.x, save_to=V.loss).update(B.loss, V.loss).update(B.one, V("get"))
    batch = chain.next_batch(4)
    assert (repr(V.loss), batch.loss, batch.one) == ("V('loss')", 10, 1)
    assert V.loss.get(batch) == 10
    assert pickle.loads(pickle.dumps(V.loss))._name == "loss"
    assert not hasattr(V, "_hidden")


def test_attributes_of_a_dataset_go_with_its_parts():
    dataset = Dataset(10, Rows, mean=2.5, names=("p", "q"))
    assert dataset.mean == 2.5
    assert dataset.split(0.5).train.names == ("p", "q")
    assert dataset.p.update(B.m, D.mean).next_batch(2).m == 2.5


@pytest.mark.parametrize(
    "name",
    [
        "shuffle",
        "batch_size",
        "seed",
        "x",
        "preload",
        "sorce",
        "train",
        "p",
        "next_batch",
        "_data",
        "cv",
    ],
)
def test_attributes_that_mean_something_else_are_refused(name):
    with pytest.raises(ArgumentTypeError):
        Dataset(10, Rows, **{name: 1})


def test_data_is_no_attribute_of_a_dataset():
    with pytest.raises(ArgumentTypeError, match="from_arrays"):
        Dataset(3, data=[1, 2, 3])


# ---- words that are not there


class Plain(Batch):
    components = "x"

    @action
    def own(self, **kwargs):
        return self


def chained(word):
    return getattr(Dataset(2, Plain).p, word)


OWNERS = {
    "chain": chained,
    "batch": lambda word: getattr(Plain(2), word),
    "dataset": lambda word: getattr(Dataset(2), word),
    "index": lambda word: getattr(DatasetIndex(2), word),
    "config": lambda word: getattr(Config(), word),
    "random": lambda word: getattr(R, word) if word != "seed" else R.normal(seed=1),
    "run": lambda word: Dataset(2).p.run(1, **{word: 1}),
    "action": lambda word: action(**{word: True}),
    "files": lambda word: FilesIndex(**{word: ["a"]}),
    "split": lambda word: Dataset(2).split(**{word: [1]}),
    "variable": lambda word: (
        Pipeline().init_variable("v", **{word: 1})
        if word in ("init_value", "lock")
        else Pipeline().init_variable("v").set_variable("v", 1, **{word: 1})
        if word == "mode"
        else Pipeline().init_variable("v").get_variable("v", **{word: 1})
    ),
    "apply_parallel": lambda word: __import__("batchflow.batch", fromlist=["x"]).apply_parallel(
        **{word: 1}
    )(lambda self, item: item),
    "step": lambda word: (
        Dataset(2).p.init_model("m", object).train_model("m", **{word: 1})
        if word == "make_data"
        else Dataset(2).p.update(V("v"), 1, **{word: 1})
    ),
}
CASES = [(owner, word) for owner, words in OLD_WORDS.items() for word in words]


def test_every_kind_of_old_word_is_tried():
    assert set(OWNERS) == set(OLD_WORDS)
    assert len(CASES) > 60


@pytest.mark.parametrize(("owner", "word"), CASES)
def test_an_old_word_says_what_to_write(owner, word):
    with pytest.raises(BatchflowError) as caught:
        OWNERS[owner](word)
    assert f"Instead: {OLD_WORDS[owner][word]}" in str(caught.value)


@pytest.mark.parametrize("word", sorted(OLD_WORDS["chain"]))
def test_an_old_word_in_a_piece_is_told_at_once_and_refused_when_it_gets_a_dataset(word):
    with pytest.warns(UserWarning, match="older batchflow") as told:
        piece = getattr(Pipeline(), word)()
    assert OLD_WORDS["chain"][word] in str(told[0].message)
    assert told[0].filename == __file__
    with pytest.raises(UnknownAttributeError, match="Instead:"):
        Dataset(2, Plain) >> piece


@pytest.mark.parametrize("word", sorted({*OLD_WORDS["chain"]} - TAKEN))
def test_a_class_that_has_the_word_is_never_refused(word):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = getattr(Pipeline(), word)(1)

    def own(self, by):
        self.x = self.x + by
        return self

    cls = type("Mine", (ArrayBatch,), {"components": "x", word: action(own)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = getattr(Pipeline(), word)(1)
        data = Dataset.from_arrays(cls, x=[1, 2])
        chains = (data >> before, data >> after, getattr(data.p, word)(1))
        done = [chain.next_batch(2).x.tolist() for chain in chains]
    assert done == [[2, 3]] * 3


def test_the_old_order_of_init_model_is_told():
    for call in (
        lambda: Pipeline().init_model("dynamic", Plain, "net"),
        lambda: Pipeline().init_model("dynamic", Plain, name="net", config={}),
        lambda: Pipeline().init_model("static", Plain, "net", {"a": 1}),
    ):
        with pytest.raises(ArgumentTypeError, match=r"init_model\('net', ModelClass, '(dyn|st)"):
            call()
    assert Pipeline().init_model("dynamic", Plain, "static")._plan.models[0].name == "dynamic"


def test_a_variable_has_no_default_at_the_place_where_it_is_read():
    chain = Dataset(2).p.init_variable("v", 3)
    assert chain.get_variable("v") == 3
    with pytest.raises(ArgumentTypeError, match="Declare it"):
        chain.get_variable("v", 5)
    with pytest.raises(ArgumentTypeError, match="assigns"):
        chain.set_variable("v", 5, "a")


def test_the_parts_of_reset_are_given_one_by_one():
    with pytest.raises(ArgumentValueError, match=r"reset\('iter', 'vars'\)"):
        Dataset(2).p.reset(["iter", "vars"])


def test_a_variable_that_a_parallel_action_appends_to_is_told():
    class Appends(Batch):
        @action
        def note(self):
            self.pipeline.get_variable("h").append(1)
            return self

    chain = Dataset(2, Appends).p.init_variable("h", []).note()
    with pytest.raises(AttributeError) as caught:
        chain.run(1)
    assert any("singleton=True" in note for note in caught.value.__notes__)


def test_a_config_is_a_value():
    config = Config({"a": {"b": 1}})
    with pytest.raises(ArgumentTypeError, match=r"config\.update\(\{'a/b': \.\.\.\}\)"):
        config["a/b"] = 2
    with pytest.raises(UnknownAttributeError, match=r"config\['a'\]"):
        config.a  # noqa: B018
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config


def test_other_spellings_are_told():
    with pytest.raises(ArgumentTypeError, match=r"B\(\)\.deepcopy\(\)"):
        B(copy=True)
    with pytest.raises(ArgumentTypeError, match=r"L\(lambda objects: \.\.\., B\.images\)"):
        L("images")
    assert R.integers(3).get(Plain(1)) in (0, 1, 2)
    assert R("integers", 3).get(Plain(1)) in (0, 1, 2)
    assert F(len)(B()).get(Plain(3)) == 3
    assert C("x") is not None


def test_an_option_of_a_class_is_told_with_the_class():
    with pytest.raises(ArgumentTypeError, match=r"^FilesIndex\(\) has no option 'paths'"):
        FilesIndex(paths=["a"])


def test_what_is_said_of_add_components_makes_one_that_goes_by_label_and_stays():
    """`update(B.new, ...)` would make an attribute, with the rows as they come."""
    pandas = pytest.importorskip("pandas")
    labels = pandas.Series([1, 2, 3], list("abc"))
    chain = Dataset(list("cab"), Plain).p.load([0, 0, 0]).load(labels, dst="new").rebatch(3)
    assert chain.next_batch(2).new.tolist() == [3, 1, 2]


def test_no_sentence_of_the_table_is_empty_or_endless():
    for words in OLD_WORDS.values():
        for sentence in words.values():
            assert re.fullmatch(r".{5,90}\.", sentence)
