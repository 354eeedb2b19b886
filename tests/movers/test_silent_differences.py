"""Calls that meant something else in an older batchflow: as they did, or refused with advice."""

import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArgumentTypeError,
    ArrayBatch,
    B,
    Batch,
    Dataset,
    DatasetIndex,
    F,
    L,
    Pipeline,
    UnknownAttributeError,
    V,
    W,
    action,
)


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def mean(self, **kwargs):
        return float(self.x.mean()), kwargs

    @action
    def stored(self, mode="mine"):
        return mode


class Net:
    def __init__(self):
        self.given = []

    def train(self, x, **kwargs):
        self.given.append(kwargs)
        return float(x.sum())

    def predict(self, x, **kwargs):
        return x


DATASET = Dataset.from_arrays(Rows, x=np.arange(6.0), y=np.arange(6))
TRAINING = DATASET.p.init_variable("h", []).init_model("net", Net)

# ---- split: the order of shares in a row


@pytest.mark.parametrize("shares", [[0.7, 0.2], (0.8, 0.2), [0.9], np.array([0.5, 0.5])])
def test_a_row_of_shares_is_refused_with_both_spellings(shares):
    with pytest.raises(ArgumentTypeError, match=r"split\(train=.*cv_split\([\[(]"):
        Dataset(10).split(shares)
    with pytest.raises(ArgumentTypeError, match="cv_split"):
        Dataset(10).split(shares, shuffle=1)
    with pytest.raises(ArgumentTypeError, match="cv_split"):
        Dataset(10).split(train=shares)


def test_both_spellings_do_what_they_say():
    named = Dataset(20).split(train=0.7, validation=0.2, test=0.1)
    assert [len(part) for part in named] == [14, 4, 2]
    dataset = Dataset(20)
    dataset.cv_split([0.7, 0.2, 0.1])
    assert (len(dataset.train), len(dataset.test), len(dataset.validation)) == (14, 4, 2)
    dataset.cv_split([0.8, 0.2])
    assert (len(dataset.test), dataset.validation) == (4, None)


@pytest.mark.parametrize("second", [True, 42, np.int64(3)])
def test_a_seed_in_its_old_place_is_refused(second):
    with pytest.raises(ArgumentTypeError, match=r"shuffle=.*validation="):
        Dataset(100).split(0.8, second)
    assert len(Dataset(100).split(0.8, shuffle=second).train) == 80
    assert len(Dataset(100).split(0.8, validation=15).test) == 5
    assert len(Dataset(100).split(80, 15).validation) == 15
    assert len(Dataset(100).split(0.8, 0.1).validation) == 10


def test_the_split_of_an_index_stays():
    assert [len(part) for part in DatasetIndex(10).split([0.6, 0.3])] == [6, 3, 1]


@pytest.mark.parametrize("cls", [Dataset, DatasetIndex])
def test_shares_by_name_are_refused(cls):
    with pytest.raises(ArgumentTypeError, match=r"cv_split\(shares\)"):
        cls(10).split(shares=[0.5, 0.5])


# ---- _data of a batch with components


class Lossy(Batch):
    components = "x", "y"

    @classmethod
    def merge(cls, batches):
        new = cls(np.concatenate([batch.indices for batch in batches]))
        new._data = tuple(np.concatenate([getattr(b, n) for b in batches]) for n in cls.components)
        return new


def test_data_that_nobody_would_find_is_refused():
    dataset = Dataset.from_arrays(Lossy, x=np.arange(6), y=np.arange(6))
    with pytest.raises(ArgumentTypeError, match=r"batch\.data = \(x, y\)"):
        dataset.p.rebatch(4).run(2)


def test_the_message_writes_the_tuple_of_a_single_component():
    class One(Batch):
        components = "x"

    batch = One(2)
    with pytest.raises(ArgumentTypeError, match=r"batch\.data = \(x,\)"):
        batch._data = [1, 2]


def test_data_of_a_batch_without_components_stays():
    class Inside(Batch):
        @action
        def double(self):
            self._data = self._data * 2
            return self

    class Named(Inside):
        components = "x"

    class Bare(Named):
        components = ()

    for cls in (Inside, Bare):
        assert Dataset.from_arrays(cls, data=[1, 2]).p.double().next_batch(2).data.tolist() == [
            2,
            4,
        ]
    assert Named(2)._data is None
    with pytest.raises(ArgumentTypeError, match="keeps its data in them"):
        Named(2)._data = [1, 2]


def test_data_that_a_class_defines_itself_stays():
    class Own(Batch):
        components = "x"
        _data = {"kept": 1}

        def remember(self, value):
            self._data = value
            return self._data

    assert (Own._data, Own(2).remember(5)) == ({"kept": 1}, 5)


class Merging(Batch):
    components = "x"
    rest = None

    @classmethod
    def merge(cls, batches):
        new = cls(np.concatenate([batch.indices for batch in batches]))
        new.x = np.concatenate([batch.x for batch in batches])
        return new, cls.rest


@pytest.mark.parametrize("options", [{}, {"prefetch": 3}, {"executor": "serial"}], ids=str)
def test_a_merge_that_returns_the_batch_and_no_rest_is_understood(options):
    chain = Dataset.from_arrays(Merging, x=np.arange(6)).p.rebatch(4)
    assert [b.x.tolist() for b in chain.gen_batch(2, **options)] == [[0, 1, 2, 3], [4, 5]]


def test_a_merge_that_returns_a_rest_is_refused():
    class Greedy(Merging):
        rest = Merging(1)

    with pytest.raises(ActionResultError, match="leaves no rest"):
        Dataset.from_arrays(Greedy, x=np.arange(6)).p.rebatch(4).run(2)


# ---- len(pipeline)


def test_the_length_of_a_pipeline_is_the_number_of_items():
    chain = DATASET.p.mean(save_to=B.seen)
    assert len(chain) == len(DATASET.p) == 6
    assert len(chain.next_batch(len(chain))) == 6
    assert bool(DATASET.p)


def test_a_pipeline_without_a_dataset_has_no_length():
    with pytest.raises(TypeError, match="no length"):
        len(Pipeline().mean())
    assert bool(Pipeline())


def test_a_loop_over_a_pipeline_needs_no_length():
    assert [len(batch) for batch in DATASET.p.run_later(4)] == [4, 2]
    assert len(list(DATASET.p.run_later(1))) == 6


# ---- mode= beside save_to=


@pytest.mark.parametrize("mode", ["a", "append", "w", "e", "u"])
def test_a_mode_beside_save_to_is_refused(mode):
    for chain in (
        lambda: TRAINING.train_model("net", B.x, save_to=V("h"), mode=mode),
        lambda: TRAINING.predict_model("net", B.x, save_to=V("h"), mode=mode),
        lambda: TRAINING.mean(save_to=V("h"), mode=mode),
        lambda: TRAINING.call(np.mean, B.x, save_to=[B.m, V("h")], mode=mode),
        lambda: TRAINING + Pipeline().mean(save_to=V("h"), mode=mode),
    ):
        with pytest.raises(ArgumentTypeError, match=rf"save_to=V\('h', '{mode}'\)"):
            chain()


@pytest.mark.parametrize("modes", [["w", "a"], ("append", "w")])
def test_a_mode_for_each_place_is_refused_too(modes):
    places = [V("h"), V("h")]
    with pytest.raises(ArgumentTypeError, match=r"save_to=V\('h', "):
        TRAINING.train_model("net", B.x, save_to=places, mode=modes)
    TRAINING.train_model("net", B.x, save_to=places, mode=["w", "train"])  # the model's own


def test_the_mode_of_a_variable_stores_as_it_did():
    done = TRAINING.train_model("net", B.x, save_to=V("h", "a")).run(2)
    assert done.v("h") == [1.0, 5.0, 9.0]


def test_a_mode_that_is_the_functions_own_stays():
    assert DATASET.p.stored(mode="a", save_to=B.m).next_batch(2).m == "a"
    assert DATASET.p.mean(mode="mine", save_to=B.m).next_batch(2).m[1] == {"mode": "mine"}
    assert TRAINING.train_model("net", B.x, mode="a").run(6).m("net").given == [{"mode": "a"}]

    def opened(path, mode="r"):
        return path, mode

    assert DATASET.p.call(opened, "f", mode="a", save_to=B.m).next_batch(2).m == ("f", "a")
    assert DATASET.p.call(F(opened), "f", mode="a", save_to=B.m).next_batch(2).m == ("f", "a")


# ---- a bare F(function)


def first(batch):
    return batch.x[0]


@pytest.mark.parametrize("bare", [F(first), L(first)], ids=repr)
def test_a_function_that_nobody_calls_is_refused_where_its_value_is_meant(bare):
    for chain in (
        lambda: TRAINING.update(V("h", "a"), bare),
        lambda: TRAINING.update(B.first, bare),
        lambda: TRAINING.train_model("net", bare),
        lambda: TRAINING.predict_model("net", x=bare),
        lambda: TRAINING.train_model("net", feed_dict={"x": bare}),
        lambda: TRAINING.update(V("h"), [B.x, (bare,)]),
        lambda: TRAINING.init_model("other", dict, "dynamic", {"inputs": {"shape": bare}}),
        lambda: TRAINING.init_model("other", dict, "dynamic", bare),
    ):
        with pytest.raises(ArgumentTypeError, match=r"\(first\)\(B\(\)\)"):
            chain()


def test_what_the_message_says_works():
    done = TRAINING.update(V("h", "a"), F(first)(B())).update(B.function, first)
    assert done.run(2).v("h") == [0.0, 2.0, 4.0]
    assert done.next_batch(2).function is first
    assert TRAINING.update(B.function, W(F(first))).next_batch(2).function is not None
    assert TRAINING.update(B.functions, [first]).next_batch(2).functions == [first]


# ---- load with more names than there are components


def test_a_mapping_with_other_names_says_how_to_fill_those_that_are_known():
    class Labelled(Batch):
        components = "label", "x"

    chain = Dataset(2, Labelled).p
    data = {"label": [1, 2], "foo": [3, 4]}
    with pytest.raises(KeyError, match=r"components=\('label',\)") as caught:
        chain.load(data).next_batch(2)
    assert "Did you mean" not in str(caught.value)
    assert chain.load(data, components=("label",)).next_batch(2).label == [1, 2]
    with pytest.raises(KeyError, match=r"Did you mean 'label'"):
        chain.load({"lable": [1, 2], "x": [3, 4]}).next_batch(2)


# ---- load with tuples of one


@pytest.mark.parametrize("components", [("x",), ["x"], "x"], ids=str)
def test_a_tuple_of_one_source_fills_one_component(components):
    batch = DATASET.p.load(src=(np.arange(6) * 10,), components=components).next_batch(2)
    assert batch.x.tolist() == [0, 10]


def test_a_tuple_of_one_source_fills_the_only_component():
    class One(ArrayBatch):
        components = ("x",)

    assert Dataset(3, One).p.load(src=([1, 2, 3],)).next_batch(3).x.tolist() == [1, 2, 3]
    assert Dataset(1, One).p.load(src=([1, 2, 3],)).next_batch(1).x.tolist() == [[1, 2, 3]]
    one = Dataset(1, One).p.load(src=([7],), components=("x",))
    assert one.next_batch(1).x.tolist() == [7]


def test_a_tuple_of_rows_is_no_tuple_of_sources():
    assert DATASET.create_batch([1, 2]).load((0, 1, 2, 3, 4, 5), components="x").x.tolist() == [
        1,
        2,
    ]


# ---- a static model that needs a batch


def test_a_config_that_needs_a_batch_says_how_to_make_the_model_from_it():
    chain = DATASET.p.init_model("net", lambda shape: Net(), config={"shape": B.x.shape})
    with pytest.raises(
        UnknownAttributeError, match=r"init_model\('net', \.\.\., mode=\"dynamic\"\)"
    ):
        chain.train_model("net", B.x).run(2)


def test_a_builder_that_needs_a_batch_says_so_too():
    with pytest.raises(TypeError, match='mode="dynamic"'):
        DATASET.p.init_model("net", lambda batch: Net()).train_model("net", B.x).run(2)
