"""The batch in worker processes for items: a snapshot, with what the function reads, once."""

import functools
import os
import sys
import threading
import types

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    V,
    action,
    inbatch_parallel,
    model,
)
from batchflow.batch import apply_parallel
from batchflow.batch.items.parallel import apply_to_items
from batchflow.executors import item_threads

N_ITEMS = 6


@pytest.fixture(autouse=True, scope="module")
def _no_pool_is_left():
    yield
    item_threads.shutdown()


@pytest.fixture
def sent(monkeypatch):
    """The sizes of all that goes to workers, by sockets and by shared memory."""
    from batchflow.executors.processes import channel

    sizes = []
    plain_init, plain_write = channel.Message.__init__, channel.write_file

    def init(self, body, *args, **kwargs):
        sizes.append(len(body))
        plain_init(self, body, *args, **kwargs)

    def write_file(fd, data, place):
        sizes.append(data.nbytes)
        plain_write(fd, data, place)

    monkeypatch.setattr(channel.Message, "__init__", init)
    monkeypatch.setattr(channel, "write_file", write_file)
    return sizes


def results_of(batch, results, *args, **kwargs):
    failed = [result for result in results if isinstance(result, Exception)]
    if failed:
        raise failed[0]
    return results


def class_of(method, init="indices", **options):
    class Rows(ArrayBatch):
        components = "images", "labels"
        limit = 3

        def lists(self):
            return [[0, 1]]

        work = inbatch_parallel(init, post=results_of, target="processes", **options)(method)

    return Rows


def batch_of(method, init="indices", side=2, **attributes):
    batch = class_of(method, init)(N_ITEMS)
    batch.images = np.zeros((N_ITEMS, side, side))
    batch.images += np.arange(N_ITEMS).reshape(-1, 1, 1)
    batch.labels = np.arange(N_ITEMS) * 10
    for name, value in attributes.items():
        setattr(batch, name, value)
    return batch


def label_of(batch, item_id):
    return int(batch.labels[item_id])


# ---- once


def test_each_call_is_made_once_whatever_it_reads(tmp_path):
    def work(self, item_id, folder):
        import tempfile

        tempfile.mkstemp(dir=folder, prefix=f"{item_id}-")  # before anything is read
        return self.images.sum() + self.labels.sum() + self.note + self.rng.normal()

    batch_of(work, note=1).work(tmp_path)
    begun = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert begun == [str(item_id) for item_id in range(N_ITEMS)]


def test_a_component_that_is_read_travels_once_for_all_workers(sent):
    batch = batch_of(lambda self, i: float(self.images.sum()), side=200)
    assert batch.work(n_workers=2) == [float(batch.images.sum())] * N_ITEMS
    assert batch.images.nbytes < sum(sent) < 1.1 * batch.images.nbytes


def test_a_component_that_is_not_read_does_not_travel(sent):
    batch = batch_of(lambda self, i: int(self.labels[i]), side=200)
    assert batch.work() == [0, 10, 20, 30, 40, 50]
    assert sum(sent) < 0.1 * batch.images.nbytes


def test_of_a_component_that_gives_the_items_each_element_travels_once(sent):
    batch = batch_of(lambda self, image: float(image[0, 0]), "images", side=200)
    assert batch.work() == [0, 1, 2, 3, 4, 5]
    assert sum(sent) < 1.1 * batch.images.nbytes


def test_of_items_by_id_only_the_component_travels_that_is_read(sent):
    batch = batch_of(lambda self, i: int(self[i].labels), side=200)
    assert batch.work() == [0, 10, 20, 30, 40, 50]
    assert sum(sent) < 0.1 * batch.images.nbytes


@pytest.mark.parametrize("decorate", ["inbatch_parallel", "apply_parallel"])
def test_of_items_as_arguments_only_the_components_travel_that_are_read(sent, decorate):
    def work(self, item):
        return int(item.labels)

    batch = batch_of(work, "items", side=200)
    if decorate == "inbatch_parallel":
        assert batch.work() == [0, 10, 20, 30, 40, 50]
    else:
        take = functools.partial(apply_to_items, batch, dst="labels", target="processes")
        assert take(lambda item: int(item.labels)).labels.tolist() == [0, 10, 20, 30, 40, 50]
    assert sum(sent) < 0.1 * batch.images.nbytes


def test_an_item_of_another_batch_has_all_components():
    batch = batch_of(lambda self, item, other: int(item.labels + other.images.sum()), "items")
    assert batch.work(next(iter(batch_of(label_of)))) == [0, 10, 20, 30, 40, 50]
    assert batch.work(batch_of(label_of)[1])[0] == 4


def test_an_item_that_is_passed_on_has_all_components():
    batch = batch_of(lambda self, item: label_of(item, ...), "items")
    assert batch.work() == [0, 10, 20, 30, 40, 50]


def test_a_batch_that_is_passed_on_travels_as_a_whole_once(sent):
    batch = batch_of(lambda self, i: label_of(self, i), side=200)
    assert batch.work(n_workers=2) == [0, 10, 20, 30, 40, 50]
    assert sum(sent) < 1.1 * batch.images.nbytes


def test_a_result_that_is_kept_keeps_itself_and_not_its_neighbours():
    def work(self, item_id):
        import numpy as np

        return np.full(item_id * 1000 + 1, item_id)

    kept = batch_of(work).work()[0]
    root = kept
    while isinstance(root.base, np.ndarray):
        root = root.base
    assert memoryview(root.base if root.base is not None else root).nbytes < 1000


def test_a_worker_keeps_no_memory_of_earlier_calls():
    def work(self, item_id):
        import gc

        gc.disable()
        with open("/proc/self/maps") as maps:
            n_maps = sum("memfd:batchflow" in line for line in maps)
        return n_maps if self.images[0, 0, 0] == 0 else None

    try:
        n_maps = [max(batch_of(work, side=200).work(n_workers=1)) for _ in range(20)]
    finally:
        item_threads.shutdown()
    assert max(n_maps[10:]) <= max(n_maps[:3])


# ---- the same as elsewhere


def get_attribute(self, i):
    return int(getattr(self, "labels")[i])  # noqa: B009


def in_a_closure(self, i):
    return [(lambda: int(self.labels[k]))() for k in range(i)]


def by_iterating(self, i):
    return [int(item.labels) for item in self]


def by_position(self, i):
    return self.index.indices.tolist(), self.indices.tolist(), len(self), i in self


def of_the_state(self, i):
    return sorted(vars(self)) is not None and self.limit


def by_data(self, i):
    return [part.sum() for part in self.data]


@pytest.mark.parametrize(
    "function",
    [get_attribute, in_a_closure, by_iterating, by_position, of_the_state, by_data, label_of],
)
def test_whatever_way_a_function_reads_the_batch_it_reads_the_same(function):
    batch = batch_of(function)
    assert batch.work() == [function(batch, i) for i in range(N_ITEMS)]


class Base(ArrayBatch):
    components = "images", "labels"

    def prepare(self, i):
        return int(self.labels[i])

    @property
    def total(self):
        return self.images.sum()


class Derived(Base):
    __slots__ = ("held",)

    def prepare(self, i):
        return super().prepare(i) + float(self.total)

    @inbatch_parallel("indices", post=results_of)
    def work(self, i):
        return self.prepare(i), self.held, self.pick(self.labels)

    @staticmethod
    def pick(labels):
        return int(labels[1])


def test_methods_properties_parents_and_slots_are_read_as_elsewhere():
    batch = Derived(2)
    batch.images, batch.labels, batch.held = np.ones((2, 3)), np.array([5, 6]), "slot"
    assert batch.work(target="processes") == batch.work(target="for")


def test_the_setting_of_numpys_errors_is_that_of_the_caller():
    def work(self, i):
        return np.log(self.labels[0] * 0.0)

    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        batch_of(work).work()


def test_items_are_packed_alone_even_inside_of_something(sent):
    class Rows(Batch):
        components = "images"

        @inbatch_parallel("pairs", post=results_of, target="processes")
        def work(self, pair):
            return float(pair.item.images.sum())

        def pairs(self):
            return [types.SimpleNamespace(item=item) for item in self]

    batch = Rows(N_ITEMS)
    batch.images = list(np.ones((N_ITEMS, 100, 100)))
    assert batch.work() == [10_000.0] * N_ITEMS
    assert sum(sent) < 1.1 * N_ITEMS * 80_000


# ---- what is not there


def test_what_cannot_travel_is_refused_by_its_name_where_it_is_read():
    def work(self, i):
        return self.lock if i == 3 else i

    batch = batch_of(work, lock=threading.Lock())
    with pytest.raises(ArgumentTypeError, match=r"self\.lock, of type lock .* write target=\"th"):
        batch.work()


def test_what_cannot_travel_does_no_harm_where_nobody_reads_it():
    batch = batch_of(lambda self, i: label_of(self, i), lock=threading.Lock())
    assert batch.work() == [0, 10, 20, 30, 40, 50]


def of_the_caller():
    return sys._getframe(1).f_locals["self"].images


def test_what_is_read_behind_the_back_of_the_code_is_refused_by_its_name():
    def work(self, i):
        return float(self.labels[i] + of_the_caller().sum())

    with pytest.raises(ArgumentTypeError, match=r"self\.images is not here"):
        batch_of(work).work()


def test_what_a_class_has_does_not_stand_in_for_what_cannot_travel():
    batch = batch_of(lambda self, i: self.limit, limit=threading.Lock())
    with pytest.raises(ArgumentTypeError, match=r"self\.limit, of type lock"):
        batch.work()


def replace_an_element(self, i):
    self.notes[0][:] = 5


@pytest.mark.parametrize(
    "write",
    [
        replace_an_element,
        lambda self, i: self.images.__setitem__(0, 1),
        lambda self, i: self.small.__setitem__(0, 1),
        lambda self, i: setattr(self, "fresh", 1),
        lambda self, i: setattr(self, "images", 1),
        lambda self, i: self.__setitem__(0, 1),
    ],
)
@pytest.mark.parametrize("side", [2, 200])
def test_writing_to_a_snapshot_is_refused(write, side):
    batch = batch_of(write, side=side, notes=[np.zeros(3)], small=np.zeros(2))
    with pytest.raises((ArgumentTypeError, ValueError), match=r"cannot write|read-only"):
        batch.work()


@pytest.mark.parametrize(
    "function",
    [
        lambda self, i: self[[0, 1]].images,
        lambda self, i: self.create_subset([0, 1]),
        lambda self, ids: self[ids].images,
    ],
)
def test_a_batch_of_some_items_is_refused(function):
    batch = batch_of(function, init="lists")
    with pytest.raises(ArgumentTypeError, match="cannot make a batch of some items"):
        batch.work()


def test_an_argument_may_be_written_to():
    def work(self, image):
        image[:] = 7
        return float(image.sum())

    batch = batch_of(work, "images", side=100)
    assert batch.work() == [70_000.0] * N_ITEMS
    assert batch.images[0].sum() == 0


def test_models_stay_with_their_process():
    class Rows(Batch):
        @model()
        def weights():
            return [os.getpid()]

        @inbatch_parallel("indices", post=results_of, target="processes")
        def work(self, i):
            return self.models["weights"]

    with pytest.raises(Exception, match="models stay in the main process"):
        Rows(2).work()


class Ordered(ArrayBatch):
    @action(singleton=True)
    def note(self):
        return 5

    @inbatch_parallel("indices", post="keep", target="processes")
    def work(self, item_id):
        return self.note()

    @action
    def at_once(self):
        return self.work()

    @action(singleton=True)
    def in_order(self):
        return self.work()

    def keep(self, results):
        self.results = results_of(self, results)
        return self


def test_an_ordered_action_is_refused_in_the_items_of_a_parallel_one():
    with pytest.raises(ArgumentTypeError, match=r"Ordered\.note is not here: ordered actions st"):
        Dataset(2, Ordered).p.at_once().run(2)


def test_an_ordered_action_may_be_called_in_the_items_of_an_ordered_one():
    assert Dataset(2, Ordered).p.in_order().next_batch(2).results == [5, 5]


# ---- pipeline and dataset


class Tagged(Dataset):
    tag = "tagged"

    def doubled(self):
        return 2 * len(self)


def run(function, **options):
    """Return what a function of the batch and an item gives in processes, in a pipeline."""

    class Rows(ArrayBatch):
        components = "images"

        @action
        @inbatch_parallel("indices", post="keep", target="processes")
        def work(self, item_id):
            return function(self, item_id)

        @action
        @inbatch_parallel("indices", post="keep", target="processes")
        def read_scale(self, item_id):
            return self.pipeline.v("scale")

        def keep(self, results):
            self.results = results_of(self, results)
            return self

    dataset = Tagged.from_arrays(Rows, images=np.arange(4.0))
    chain = dataset.p.init_variable("scale", 10).init_variable("table", [1, 2])
    chain = chain.init_variable("lock", init=threading.Lock).init_variable("count", 0)
    chain = {"a": 5} >> options.get("change", lambda p: p.work())(chain)
    return chain.next_batch(2).results


NAME = "scale"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda self, i: self.pipeline.v("scale"), 10),
        (lambda self, i: self.pipeline.get_variable("scale"), 10),
        (lambda self, i: self.pipeline.v(NAME), 10),
        (lambda self, i: self.pipeline.v("sca" + "le"[i * 0 :]), 10),
        (lambda self, i: getattr(self, "pipeline").v("scale"), 10),  # noqa: B009
        (lambda self, i: self.pipeline.has_variable("scale"), True),
        (lambda self, i: self.pipeline.has_variable("nothing"), False),
        (lambda self, i: self.pipeline.config["a"], 5),
        (lambda self, i: self.pipeline.dataset.tag, "tagged"),
        (lambda self, i: (self.dataset.tag, len(self.dataset)), ("tagged", 4)),
        (lambda self, i: self.dataset.doubled(), 8),
        (lambda self, i: self.dataset.indices.tolist(), [0, 1, 2, 3]),
        (lambda self, i: hasattr(self.pipeline, "run"), False),
    ],
)
def test_what_of_pipeline_and_dataset_can_be_read(function, expected):
    assert run(function) == [expected, expected]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda self, i: self.pipeline.v("scle"), r"no variable 'scle' .* mean 'scale'"),
        (lambda self, i: self.pipeline.v("lock"), "the variable 'lock', of type lock"),
        (lambda self, i: self.pipeline.models, r"self\.pipeline\.models is not here"),
        (lambda self, i: self.pipeline.set_variable("scale", 1), "set_variable is not here"),
        (lambda self, i: self.dataset.create_batch([0]), "the data of a dataset does not travel"),
    ],
)
def test_what_of_pipeline_and_dataset_is_refused(function, told):
    with pytest.raises(Exception, match=told):
        run(function)


def test_a_variable_that_cannot_travel_does_no_harm_where_nobody_reads_it():
    assert run(lambda self, i: self.pipeline.v(NAME)) == [10, 10]


def test_a_variable_that_a_step_writes_is_refused_as_elsewhere():
    def change(p):
        return p.work().update(V("count"), 1)

    with pytest.raises(ArgumentValueError, match=r"cannot read the variable 'count'"):
        run(lambda self, i: self.pipeline.v("count"), change=change)


def test_an_ordered_action_reads_variables_as_they_are_when_its_calls_begin():
    class Rows(ArrayBatch):
        @action(singleton=True)
        def count(self):
            self.pipeline.set_variable("seen", self.pipeline.v("seen") + 1)
            self.results = self.read()
            return self

        @inbatch_parallel("indices", post=results_of, target="processes")
        def read(self, item_id):
            return self.pipeline.v("seen")

    chain = Dataset(4, Rows).p.init_variable("seen", 0).count()
    assert [batch.results for batch in chain.gen_batch(2)] == [[1, 1], [2, 2]]


def test_the_data_of_a_dataset_does_not_travel(sent):
    class Rows(ArrayBatch):
        components = "images"

        @action
        @apply_parallel(src="images", target="processes")
        def work(self, image):
            return image[:1] * len(self.dataset)

    dataset = Dataset.from_arrays(Rows, images=np.ones((40, 10_000)))
    train = dataset.split(0.5).train
    assert train.p.work().next_batch(2).images.tolist() == [[20.0], [20.0]]
    assert dataset.p.work().next_batch(2).images.tolist() == [[40.0], [40.0]]
    assert sum(sent) < 0.5 * 40 * 80_000
