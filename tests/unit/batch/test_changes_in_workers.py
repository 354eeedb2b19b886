"""Per-item work in processes: no change is lost without a word, and classes arrive as they are."""

import functools
import threading
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArrayBatch, Batch, Dataset, action
from batchflow.batch import inbatch_parallel

in_processes = inbatch_parallel(init="indices", post="keep", target="processes", n_workers=1)
of_items = inbatch_parallel(init="items", post="keep", target="processes", n_workers=1)


class Keeping(ArrayBatch):
    components = "x"

    def keep(self, results, *args):
        del args
        for result in results:
            if isinstance(result, Exception):
                raise result
        self.results = results
        return self


class Held(Keeping):
    def __init__(self, index, *args, **kwargs):
        super().__init__(index, *args, **kwargs)
        self.config = {"a": {"b": [1, 2]}, "rows": [[1], [2]], "array": np.zeros(2)}
        self.listed = [{"k": {1}}, ([3],)]
        self.counts = Counter(a=1)
        self.defaults = defaultdict(list, a=[1])
        self.queue = deque([[1]], maxlen=3)
        self.ordered = OrderedDict(a=[1], b=[2])
        self.ragged = np.array([[1], [1, 2]], dtype=object)
        self.same = [1]
        self.twice = [self.same, self.same]

    @in_processes
    def call(self, item_id, function):
        del item_id
        return function(self)


def held(n_items=1):
    batch = Held(n_items)
    batch.x = np.arange(n_items)
    return batch


CHANGES = {
    "self.config['a']['b']": lambda self: self.config["a"]["b"].append(3),
    "self.config['rows'][0]": lambda self: self.config["rows"][0].extend([3]),
    "self.config": lambda self: self.config.update(a=1),
    "self.listed[0]['k']": lambda self: self.listed[0]["k"].add(2),
    "self.listed[1][0]": lambda self: self.listed[1][0].clear(),
    "self.counts": lambda self: self.counts.update("a"),
    "self.defaults['new']": lambda self: self.defaults["new"].append(1),
    "self.defaults": lambda self: self.defaults.setdefault("b", 1),
    "self.queue[0]": lambda self: self.queue[0].append(1),
    "self.queue": lambda self: self.queue.appendleft(1),
    "self.ordered['b']": lambda self: self.ordered["b"].pop(),
    "self.ordered": lambda self: self.ordered.move_to_end("a"),
    "self.ragged[...]": lambda self: self.ragged[1].append(3),
    "self.twice[0]": lambda self: self.twice[1].append(2),
    "self.new": lambda self: setattr(self, "new", 1),
}


@pytest.mark.parametrize("place", CHANGES)
def test_a_change_is_refused_with_its_place_at_any_depth(place):
    with pytest.raises(ArgumentTypeError, match="cannot write to the batch") as caught:
        held().call(CHANGES[place])
    said = str(caught.value)
    assert f"({place})" in said or f"({place}, " in said


def test_an_array_inside_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        held().call(lambda self: self.config["array"].fill(1))


def reads(self):
    return [
        self.config["a"] == {"b": [1, 2]},
        self.counts["none"] == 0,
        self.defaults["none"] == [],
        "none" not in self.defaults,
        self.queue.maxlen == 3,
        [*self.ordered] == ["a", "b"],
        self.ragged.tolist() == [[1], [1, 2]],
        self.twice[0] is self.twice[1],
        [type(v.copy()) for v in (self.config, self.listed, self.ordered)]
        == [dict, list, OrderedDict],
        [type(v.copy()) for v in (self.counts, self.queue, self.listed[0]["k"])]
        == [Counter, deque, set],
    ]


def test_what_is_there_reads_as_elsewhere():
    assert all(held().call(reads).results[0])


def test_what_is_sent_back_is_plain():
    def give(self):
        return self.config, self.listed, self.queue, self.ordered, self.counts, self.defaults

    given, batch = held().call(give).results[0], held()
    there = (batch.config, batch.listed, batch.queue, batch.ordered, batch.counts, batch.defaults)
    assert list(map(type, given)) == list(map(type, there))
    assert str(given) == str(there)
    given[0]["a"]["b"].append(3)


def test_a_dictionary_of_an_item_is_not_changed_without_a_word():
    class Tagged(Batch):
        components = "tags"
        keep = Keeping.keep

        @of_items
        def mark(self, item):
            item.tags["seen"] = True

    batch = Tagged(1)
    batch.tags = [{"a": 1}]
    with pytest.raises(ArgumentTypeError, match=r"\(item\.tags, 'seen'\)"):
        batch.mark()


# ---- what travels


@functools.singledispatch
def sized(value):
    return -1.0 if value is None else float(value)


@sized.register
def _(value: list):
    return sum(map(sized, value))  # calls itself


class Slotted:
    __slots__ = ("_hidden", "a")

    def __init__(self, a):
        self.a = a


class SlottedToo(Slotted):
    __slots__ = ("__private",)

    def __init__(self, a):
        super().__init__(a)
        self.__private = a

    @property
    def private(self):
        return self.__private


def by_value(function):
    """A function as one of a script: it travels by value, with the classes that it uses."""
    cloudpickle = pytest.importorskip("cloudpickle")
    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["x"]))
    try:
        return function()
    finally:
        cloudpickle.unregister_pickle_by_value(__import__(__name__, fromlist=["x"]))


@pytest.mark.parametrize("value", [2, [1, [2, 3]]])
def test_a_function_for_each_type_travels(value):
    @functools.singledispatch
    def local(value):
        return float(value)

    @local.register
    def _(value: list):
        return sum(map(local, value))

    [result] = held().call(lambda self: (local(value), sized(value))).results
    assert result == (local(value), sized(value))
    pipeline = Dataset.from_arrays(Keeping, x=[1, 2]).p.map(local, src="x")
    [batch] = pipeline.gen_batch(2, executor="processes", n_workers=1)
    assert batch.x.tolist() == [1.0, 2.0]


def test_objects_with_slots_have_no_dictionary_in_a_worker():
    class Local(Slotted):
        __slots__ = ("b",)

    def looked_at(self):
        del self
        local, private = Local(1), SlottedToo(2)
        local.b = 3
        return local, private, [hasattr(one, "__dict__") for one in (local, private)]

    local, private, have = by_value(lambda: held().call(looked_at).results[0])
    assert have == [False, False]
    assert (type(local) is Local, local.a, local.b, private.private) == (True, 1, 3, 2)


# ---- refusals


def refusal(batch_class, **attributes):
    dataset = Dataset(2, batch_class, **attributes)
    with pytest.raises(ArgumentTypeError) as caught:
        dataset.p.work().run(2, executor="processes", n_workers=1)
    return str(caught.value)


def test_a_refusal_names_the_variable_and_not_what_a_decorator_holds():
    lock = threading.Lock()

    class Locked(Keeping):
        @action
        @inbatch_parallel(init="indices", post="keep")
        def work(self, item_id):
            return lock.locked() and item_id

    said = refusal(Locked)
    assert "work: its variable 'lock', of type lock" in said
    assert "spec" not in said


def test_the_refusal_of_a_call_for_items_names_the_variable():
    lock = threading.Lock()
    with pytest.raises(ArgumentTypeError, match=r"its variable 'lock', of type lock"):
        Dataset.from_arrays(Keeping, x=[1, 2]).p.apply_parallel(
            lambda x: lock.locked() or x, src="x", target="processes"
        ).run(2)


def test_what_a_batch_holds_is_named_as_its_attribute():
    class Generating(Keeping):
        @action
        def work(self):
            self.held = {"g": (i for i in [1])}
            return self

    assert "batch.held['g'], of type generator" in refusal(Generating)


def test_a_dataset_that_cannot_travel_says_what_to_do():
    class Plain(Keeping):
        @action
        def work(self):
            return self

    said = refusal(Plain, lock=threading.Lock())
    assert "the dataset cannot travel" in said
    assert ".lock, of type lock" in said
    assert "or run in threads" in said
