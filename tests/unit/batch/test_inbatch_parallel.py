"""`inbatch_parallel`: arguments of the calls, results, errors, targets, randomness."""

import asyncio
import inspect
import threading

import numpy as np
import pytest
from kit import does_not_raise

from batchflow import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    BatchflowError,
    Dataset,
    SkipBatch,
    StopPipeline,
    UnknownNameError,
    action,
)
from batchflow.batch import any_action_failed, inbatch_parallel
from batchflow.batch.items.arguments import PerItem
from batchflow.batch.items.parallel import check_per_item
from batchflow.executors.item_threads import shutdown
from batchflow.testing import digest, hand_over_every_batch, nothing_left

DEADLINE = 20
TARGETS = ("for", "threads", "async", "processes")
each_target = pytest.mark.parametrize("target", TARGETS)
each_here = pytest.mark.parametrize("target", ["for", "threads", "async"])


pytestmark = pytest.mark.usefixtures("no_pool_is_left")


def make_class(init="indices", post="collect", parents=(ArrayBatch,), **options):
    """Make a class whose method `work` shows what it is called with."""

    class Items(*parents):
        components = "images", "labels"

        @action
        @inbatch_parallel(init, post, **options)
        def work(self, *args, **kwargs):
            return args, kwargs

        def collect(self, results, *args, **kwargs):
            self.results, self.post_args = results, (args, kwargs)
            return self

        def some(self, *args, **kwargs):
            return [(), (1,), (1, 2), 3, [4, 5], {"a": 6}, ([7], {"b": 8}), ((9, 10), {"c": 11})]

        def given(self, *args, **kwargs):
            return [(args, kwargs)]

        def nothing_good(self):
            return 5

        @property
        def pairs(self):
            return [(i, i) for i in range(len(self))]

    return Items


def make_batch(cls, n_items=3):
    batch = cls([f"id{i}" for i in range(n_items)])
    batch.images = np.arange(n_items * 2).reshape(n_items, 2)
    batch.labels = np.arange(n_items) * 10
    return batch


def called(init="indices", *args, **kwargs):
    """Give what the calls got."""
    return make_batch(make_class(init)).work(*args, **kwargs).results


# ---- what init names


@each_target
def test_init_indices_gives_each_id(target):
    assert called(target=target) == [(("id0",), {}), (("id1",), {}), (("id2",), {})]


def test_init_items_gives_each_item():
    [(item, *_)] = {args for args, _ in called("items")[1:2]}
    assert (item.images.tolist(), item.labels) == ([2, 3], 10)


def test_init_items_gives_the_data_of_a_batch_without_components():
    class Plain(ArrayBatch):
        @inbatch_parallel("items", post=lambda batch, results: results)
        def work(self, item):
            return item + 1

    batch = Plain(3)
    batch.data = [1, 2, 3]
    assert batch.work() == [2, 3, 4]


@each_target
def test_init_of_a_component_gives_each_element(target):
    results = called("labels", target=target)
    assert [int(args[0]) for args, _ in results] == [0, 10, 20]


def test_init_run_once_gives_one_call_without_an_item():
    assert called("run_once", 1, a=2) == [((1,), {"a": 2})]


def test_init_of_a_method_gives_the_arguments_of_each_call():
    assert called("some") == [
        ((), {}),
        ((1,), {}),
        ((1, 2), {}),
        ((3,), {}),
        (([4, 5],), {}),
        ((), {"a": 6}),
        ((7,), {"b": 8}),
        ((9, 10), {"c": 11}),
    ]


def test_init_of_a_property_gives_the_arguments_of_each_call():
    assert called("pairs") == [((0, 0), {}), ((1, 1), {}), ((2, 2), {})]


def test_an_init_method_gets_the_arguments_of_the_action_and_those_of_the_decorator():
    batch = make_batch(make_class("given", more=3)).work(1, b=2)
    assert batch.results == [((1, 1), {"b": 2, "more": 3})]


def test_the_arguments_of_the_action_follow_those_of_the_item():
    assert called("indices", "x", k="y")[0] == (("id0", "x"), {"k": "y"})


def test_post_gets_the_arguments_of_the_action_and_those_of_the_decorator():
    batch = make_batch(make_class(more=3)).work(1, b=2)
    assert batch.post_args == ((1,), {"b": 2, "more": 3})


def test_tuples_as_ids_are_one_argument():
    class Pairs(Batch):
        @inbatch_parallel("indices", post=lambda batch, results: results)
        def work(self, item_id):
            return item_id

    index = np.empty(2, dtype=object)
    index[:] = [(1, 2), (3, 4)]
    assert Pairs(index).work() == [(1, 2), (3, 4)]


@each_here
def test_the_calls_may_write_to_the_batch(target):
    class Scaled(ArrayBatch):
        components = "images"

        @inbatch_parallel("indices", target=target)
        def scale(self, item_id, by):
            self[item_id].images = self[item_id].images * by

    batch = Scaled(4)
    batch.images = np.arange(4.0)
    assert batch.scale(2).images.tolist() == [0, 2, 4, 6]


@each_here
def test_elements_of_an_array_are_views(target):
    class Scaled(ArrayBatch):
        components = "images"

        @inbatch_parallel("images", target=target)
        def clear(self, image):
            image[:] = 0

    batch = Scaled(2)
    batch.images = np.ones((2, 2))
    assert not batch.clear().images.any()


def test_an_old_spelling_of_a_target_is_understood():
    for letter in ("t", "f", "a", "m"):
        assert called(target=letter)[0] == (("id0",), {})


# ---- values for each item


@each_target
def test_each_call_gets_its_own_of_per_item_values(target):
    values, named = PerItem("abc"), PerItem([1, 2, 3])
    results = called("indices", values, "all", k=named, target=target)
    assert results == [
        (("id0", "a", "all"), {"k": 1}),
        (("id1", "b", "all"), {"k": 2}),
        (("id2", "c", "all"), {"k": 3}),
    ]


def test_another_list_is_passed_whole():
    assert called("indices", [1, 2, 3])[0] == (("id0", [1, 2, 3]), {})


def test_per_item_values_for_another_number_of_calls_are_refused():
    with pytest.raises(ArgumentValueError, match=r"here 3, and there are 1 calls"):
        called("run_once", PerItem([1, 2, 3]))


# ---- what is refused


def test_an_unknown_target_is_refused_when_the_method_is_defined():
    with pytest.raises(ArgumentValueError, match="Did you mean 'threads'"):
        inbatch_parallel("indices", target="thread")


def test_an_unknown_target_is_refused_in_the_call():
    with pytest.raises(ArgumentValueError, match="target is one of 'threads', 'processes'"):
        called(target="gpu")


@pytest.mark.parametrize("init", [None, 3, ["indices"], lambda self: []])
def test_an_init_that_is_no_name_is_refused_when_the_method_is_defined(init):
    with pytest.raises(ArgumentTypeError, match="takes a name"):
        inbatch_parallel(init)


def test_an_unknown_init_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"has no 'image'. Did you mean 'images'"):
        called("image")


def test_an_unknown_post_is_refused_when_the_class_is_defined():
    with pytest.raises(UnknownNameError, match="Did you mean 'collect'"):

        class Items(Batch):
            @inbatch_parallel("indices", post="colect")
            def work(self, item_id):
                pass

            def collect(self, results):
                return self


@pytest.mark.parametrize("options", [{"init": "image"}, {"post": "colect"}])
def test_a_class_can_be_checked(options):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        check_per_item(make_class(**options))


def test_a_good_class_passes_the_check():
    with does_not_raise():
        for init in ("indices", "items", "images", "run_once", "some", "pairs"):
            check_per_item(make_class(init))


def test_an_init_that_gives_no_list_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"must give a list .* got int 5"):
        called("nothing_good")


def test_a_component_without_data_is_refused():
    with pytest.raises(ArgumentValueError, match=r"Items\.images has no data yet"):
        make_class("images")(3).work()


@pytest.mark.parametrize("options", [{"n_workers": 0}, {"timeout": 0}, {"timeout": -1}])
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(ArgumentValueError, match=next(iter(options))):
        called(**options)


@pytest.mark.parametrize("options", [{"n_workers": 1.5}, {"n_workers": True}, {"timeout": "1"}])
def test_options_of_the_wrong_type_are_refused(options):
    with pytest.raises(ArgumentTypeError, match=next(iter(options))):
        called(**options)


def test_what_is_no_method_cannot_be_decorated():
    with pytest.raises(ArgumentTypeError, match="decorates a method"):
        inbatch_parallel("indices")(3)


# ---- as an action


def test_without_post_the_batch_is_returned():
    batch = make_batch(make_class(post=None))
    assert batch.work() is batch


def test_post_may_be_a_function():
    batch = make_batch(make_class(post=lambda batch, results, *args: (batch, len(results), args)))
    assert batch.work(1) == (batch, 3, (1,))


def test_the_number_of_arguments_is_checked_when_the_action_is_chained():
    class Items(Batch):
        @action
        @inbatch_parallel("indices")
        def work(self, item_id, by):
            pass

    pipeline = Dataset(3, Items).p
    with pytest.raises(ArgumentTypeError, match=r"Declared as work\(self, by, "):
        pipeline.work(1, 2)


def test_options_of_the_call_are_known_when_the_action_is_chained():
    class Items(Batch):
        components = "images"

        @action
        @inbatch_parallel("images")
        def work(self, image, by=1):
            pass

    with does_not_raise():
        Dataset(3, Items).p.work(by=3, n_workers=2, timeout=5, target="for")


def test_a_method_with_a_parameter_of_that_name_gets_it_itself():
    class Items(Batch):
        @inbatch_parallel("indices", post=lambda batch, results, **kwargs: results)
        def work(self, item_id, timeout, target=None):
            return timeout, target

    assert Items(2).work(timeout=3, target="cat", n_workers=1) == [(3, "cat")] * 2


def test_the_decorated_method_keeps_its_name_and_documentation():
    class Items(Batch):
        @inbatch_parallel("indices")
        def work(self, item_id):
            """Do it."""

    assert (Items.work.__name__, Items.work.__doc__) == ("work", "Do it.")


def test_it_is_a_plain_function():
    assert inspect.isfunction(make_class().work)


def test_per_item_actions_run_in_pipelines():
    def store(batch, results):
        batch.labels = [r[0][0] + 1 for r in results]
        return batch

    cls = make_class("labels", post=store)
    dataset = Dataset.from_arrays(cls, images=np.zeros((5, 2)), labels=np.arange(5))
    batches = list(dataset.p.work().work().gen_batch(2, prefetch=2))
    assert [batch.labels.tolist() for batch in batches] == [[2, 3], [4, 5], [6]]


# ---- errors


def make_failing(post=None, error=None, at=("id1", "id2"), **options):
    class Failing(Batch):
        @action
        @inbatch_parallel("indices", post, **options)
        def work(self, item_id):
            if item_id in at:
                raise error or KeyError(item_id)
            return item_id

        def collect(self, results):
            self.results = results
            return self

    return Failing(["id0", "id1", "id2"])


@each_target
def test_the_first_error_in_the_order_of_the_items_is_raised(target):
    with pytest.raises(KeyError, match="id1"):
        make_failing().work(target=target)


@each_here
def test_the_very_exception_of_the_item_is_raised(target):
    failure = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        make_failing(error=failure).work(target=target)
    assert caught.value is failure


@each_target
def test_an_error_names_the_method_and_the_item(target):
    with pytest.raises(KeyError) as caught:
        make_failing().work(target=target)
    assert "in the call of work() for the item with the id 'id1'" in caught.value.__notes__


def test_an_error_that_is_raised_twice_has_one_note():
    batch = make_failing(error=LookupError("mine"), at=("id1",))
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            batch.work()
    assert len(caught.value.__notes__) == 1


def test_an_error_of_a_call_for_no_item_names_its_number():
    class Items(Batch):
        @inbatch_parallel("some")
        def work(self, number):
            return 1 / number

        def some(self):
            return [2, 1, 0]

    with pytest.raises(ZeroDivisionError) as caught:
        Items(2).work()
    assert caught.value.__notes__ == ["in the call of work() number 2 of 3"]


@each_target
def test_post_gets_errors_in_their_places(target):
    results = make_failing("collect").work(target=target).results
    assert [type(result) for result in results] == [str, KeyError, KeyError]


def test_any_action_failed_tells_of_errors():
    failed, fine = make_failing("collect").work().results, make_failing("collect", at=()).work()
    assert (any_action_failed(failed), any_action_failed(fine.results)) == (True, False)


@each_target
def test_every_item_is_called_even_if_one_fails(target, tmp_path):
    class Items(Batch):
        @inbatch_parallel("indices", target=target)
        def work(self, item_id, folder):
            (folder / str(item_id)).touch()
            raise ValueError

    with pytest.raises(ValueError):
        Items(9).work(tmp_path)
    assert len(list(tmp_path.iterdir())) == 9


@each_target
@pytest.mark.parametrize("post", [None, "collect"])
@pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
def test_signals_are_raised_whether_or_not_there_is_a_post(target, post, signal):
    with pytest.raises(signal):
        make_failing(post, error=signal()).work(target=target)


@each_target
@pytest.mark.parametrize("prefetch", [0, 4])
def test_an_item_can_skip_its_batch(target, prefetch):
    class Items(Batch):
        @action
        @inbatch_parallel("indices", target=target)
        def work(self, item_id):
            if item_id == 3:
                raise SkipBatch

    run = Dataset(8, Items).p.work().gen_batch(2, prefetch=prefetch)
    assert [batch.number for batch in run] == [0, 2, 3]


@pytest.mark.parametrize("prefetch", [0, 4])
def test_an_item_can_stop_the_run(prefetch):
    class Items(Batch):
        @action
        @inbatch_parallel("indices")
        def work(self, item_id):
            if item_id == 5:
                raise StopPipeline

    run = Dataset(8, Items).p.work().gen_batch(2, prefetch=prefetch)
    assert [batch.number for batch in run] == [0, 1]


@pytest.mark.parametrize("prefetch", [0, 4])
def test_in_a_pipeline_the_error_says_item_action_and_batch(prefetch):
    class Items(Batch):
        @action
        @inbatch_parallel("indices")
        def work(self, item_id):
            if item_id == 5:
                raise KeyError("mine")

    with hand_over_every_batch(), pytest.raises(KeyError) as caught:
        Dataset(8, Items).p.work().run(2, prefetch=prefetch)
    notes = "\n".join(caught.value.__notes__)
    assert [word in notes for word in ("the id 5", "the action 'work'", "batch 2")] == [True] * 3


@pytest.mark.parametrize("target", ["threads", "async", "processes"])
def test_a_timeout_names_the_items_that_are_not_finished(target):
    class Items(Batch):
        @inbatch_parallel("indices", target=target)
        async def sleep(self, item_id):
            await asyncio.sleep(30 * (item_id == 2))

        @inbatch_parallel("indices", target=target)
        def wait(self, item_id):
            import time

            time.sleep(5 * (item_id == 2))

    batch = Items(4)
    method = batch.sleep if target == "async" else batch.wait
    with pytest.raises(TimeoutError, match=r"timeout=0.5 seconds: the items with the ids \[.*2"):
        method(timeout=0.5)


def test_a_timeout_of_the_decorator_is_kept():
    gate = threading.Event()

    class Items(Batch):
        @inbatch_parallel("indices", timeout=0.1)
        def work(self, item_id):
            gate.wait(DEADLINE)

    with pytest.raises(TimeoutError, match=r"work\(\): 3 of 3 calls"):
        Items(3).work()
    gate.set()


# ---- randomness


class Noisy(ArrayBatch):
    """Draws per item, before and after drawing for the batch."""

    components = "noise", "more"

    @action
    @inbatch_parallel("indices", post="store")
    def draw(self, item_id, at=None):
        if at is not None and item_id not in at:
            return 0.0
        return self.rng.normal() + self.rng.integers(10)

    @action
    def draw_once(self):
        self.more = self.rng.normal(size=len(self))
        return self

    @inbatch_parallel("indices", post="as_list")
    def inner(self, item_id):
        return self.rng.normal()

    @action
    @inbatch_parallel("indices", post="store")
    def nested(self, item_id, target="threads"):
        return self.rng.normal() + sum(self.inner(target=target)) + self.rng.normal()

    def as_list(self, results, **kwargs):
        return results

    def store(self, results, **kwargs):
        failed = [r for r in results if isinstance(r, Exception)]
        if failed:
            raise failed[0]
        self.noise = results
        return self


def noise_of(pipeline, **options):
    run = pipeline.gen_batch(4, seed=11, **options)
    return digest(*((batch.noise, batch.more) for batch in run))


def drawing(**options):
    return Dataset(12, Noisy).p.draw(**options).draw_once()


@pytest.fixture(scope="module")
def expected_noise():
    return noise_of(drawing(target="for"))


@each_target
@pytest.mark.parametrize("n_workers", [None, 1, 2, 5])
def test_random_numbers_do_not_depend_on_target_and_workers(target, n_workers, expected_noise):
    with hand_over_every_batch():
        for prefetch in (0, 3):
            pipeline = drawing(target=target, n_workers=n_workers)
            assert noise_of(pipeline, prefetch=prefetch) == expected_noise


@each_target
def test_a_call_that_draws_nothing_leaves_the_generator_of_the_batch_alone(target):
    quiet = Dataset(4, Noisy).p.draw(at=(), target=target).draw_once().next_batch(4, seed=1)
    plain = Dataset(4, Noisy).p.draw_once().next_batch(4, seed=1)
    assert quiet.more.tolist() == plain.more.tolist()


@each_target
def test_an_item_draws_the_same_whoever_else_draws(target):
    one = Dataset(4, Noisy).p.draw(at=(2,), target=target).next_batch(4, seed=1).noise
    every = Dataset(4, Noisy).p.draw(target=target).next_batch(4, seed=1).noise
    assert one[2] == every[2]


def test_items_draw_different_numbers():
    noise = Dataset(50, Noisy).p.draw().next_batch(50, seed=1).noise
    assert len(set(noise.tolist())) == 50


def test_two_calls_draw_different_numbers():
    batch = Dataset(4, Noisy).p.draw().next_batch(4, seed=1)
    first = batch.noise.tolist()
    assert batch.draw().noise.tolist() != first


@pytest.mark.parametrize("inner", ["for", "threads"])
@pytest.mark.parametrize("outer", ["for", "threads"])
def test_nested_calls_draw_the_same_everywhere(outer, inner):
    pipeline = Dataset(6, Noisy).p
    noise = pipeline.nested(target=inner).next_batch(3, seed=5).noise.tolist()
    batch = Dataset(6, Noisy).p.next_batch(3, seed=5)

    class Other(Noisy):
        nested = inbatch_parallel("indices", "store", target=outer)(Noisy.nested.__wrapped__)

    batch = Dataset(6, Other).p.next_batch(3, seed=5)
    assert batch.nested(target=inner).noise.tolist() == noise


def test_an_item_of_another_batch_has_that_batchs_generator():
    other = Dataset(3, Noisy).p.next_batch(3, seed=2)
    expected = Dataset(3, Noisy).p.next_batch(3, seed=2).rng.normal()

    class Items(Batch):
        @inbatch_parallel("indices", post=lambda batch, results: results)
        def work(self, item_id):
            return other.rng.normal()

    assert Items(1).work() == [expected]


# ---- deadlocks, and two runs at once


@pytest.mark.parametrize("target", ["threads", "async", "processes"])
def test_per_item_work_within_prefetch_ends(target):
    class Items(Batch):
        @action
        @inbatch_parallel("indices", target=target)
        def outer(self, item_id):
            if target == "threads":
                self.inner()

        @inbatch_parallel("indices")
        def inner(self, item_id):
            pass

    with hand_over_every_batch():
        run = Dataset(64, Items).p.outer().outer().gen_batch(8, prefetch=4)
        assert [batch.number for batch in run] == list(range(8))


@pytest.mark.parametrize("target", ["threads", "async", "processes"])
def test_two_runs_at_once_do_not_disturb_each_other(target):
    pipeline = drawing(target=target)
    with hand_over_every_batch():
        first, second = (pipeline.gen_batch(4, seed=11, prefetch=2) for _ in range(2))
        pairs = list(zip(first, second, strict=True))
    assert all(a.noise.tolist() == b.noise.tolist() for a, b in pairs)


def test_nothing_is_left_after_a_shutdown():
    drawing().run(4, prefetch=2)
    shutdown()
    with nothing_left():
        with hand_over_every_batch():
            drawing().run(4, prefetch=2)
        shutdown()


def test_an_abandoned_run_at_work_on_items_leaves_nothing():
    shutdown()
    with nothing_left():
        with hand_over_every_batch():
            next(drawing().gen_batch(1, prefetch=4, n_epochs=None))
        shutdown()


# ---- async


class Async(ArrayBatch):
    components = "values", "threads"

    @action
    @inbatch_parallel("values", post="store")
    async def load(self, value, by=1):
        await asyncio.sleep(0)
        return value + by, threading.get_ident()

    @action
    @inbatch_parallel("values", post="store", target="async")
    def later(self, value):
        async def load():
            return value + 1, threading.get_ident()

        return load()

    @action
    @inbatch_parallel("run_once")
    async def read(self):
        await asyncio.sleep(0)
        self.values = self.values + 1

    def store(self, results, *args, **kwargs):
        for result in results:
            if isinstance(result, Exception):
                raise result
        self.values, self.threads = zip(*results, strict=True)
        return self


def async_pipeline():
    return Dataset.from_arrays(Async, values=np.arange(6), threads=np.zeros(6)).p


def values_of(run):
    return np.concatenate([batch.values for batch in run]).tolist()


@pytest.mark.parametrize("prefetch", [0, 3])
def test_an_async_method_is_async_without_saying_so(prefetch):
    run = async_pipeline().load().gen_batch(2, prefetch=prefetch)
    assert values_of(run) == [1, 2, 3, 4, 5, 6]


def test_an_async_method_is_async_whatever_is_said():
    run = async_pipeline().load(target="for").gen_batch(2)
    assert values_of(run) == [1, 2, 3, 4, 5, 6]


def test_a_method_that_returns_awaitables_needs_the_target():
    assert values_of(async_pipeline().later().gen_batch(2)) == [1, 2, 3, 4, 5, 6]


def test_run_once_awaits_one_call():
    assert values_of(async_pipeline().read().gen_batch(2)) == [1, 2, 3, 4, 5, 6]


def test_all_calls_of_a_run_are_on_one_loop():
    with hand_over_every_batch():
        batches = list(async_pipeline().load().gen_batch(2, prefetch=3))
    assert len({thread for batch in batches for thread in batch.threads.tolist()}) == 1


def test_calls_wait_for_each_other():
    class Meeting(Batch):
        @inbatch_parallel("indices")
        async def meet(self, item_id, events):
            events[item_id].set()
            await asyncio.wait_for(events[1 - item_id].wait(), DEADLINE)

    with does_not_raise():
        Meeting(2).meet([asyncio.Event(), asyncio.Event()])


def test_at_most_n_workers_tasks_are_at_work():
    inside, most = 0, 0

    class Counted(Batch):
        @inbatch_parallel("indices")
        async def work(self, item_id):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    Counted(20).work(n_workers=3)
    assert most == 3


def test_a_call_works_where_a_loop_runs():
    async def outer():
        batch = Dataset.from_arrays(Async, values=[1, 2], threads=[0, 0]).p.next_batch(2)
        return batch.load().values.tolist()

    assert asyncio.run(outer()) == [2, 3]


def test_after_a_timeout_no_task_is_left():
    ended = []

    class Items(Batch):
        @inbatch_parallel("indices", timeout=0.1)
        async def work(self, item_id):
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(item_id)

    with nothing_left(), pytest.raises(TimeoutError, match=r"\[0, 1, 2\]"):
        Items(3).work()
    assert sorted(ended) == [0, 1, 2]


# ---- processes


def test_the_method_runs_in_other_processes():
    import os

    class Items(Batch):
        @inbatch_parallel("indices", lambda batch, results: results, target="processes")
        def work(self, item_id):
            import os

            return os.getpid()

    assert os.getpid() not in Items(4).work()


def in_process(method, init="indices", batch=None, n_items=4, **attributes):
    """Run a function as a per-item method in worker processes and give its results."""

    class Local(ArrayBatch):
        components = "images", "labels"
        limit = 3

        def double(self, value):
            return 2 * value

        work = inbatch_parallel(init, post="give", target="processes")(method)

        def give(self, results, *args, **kwargs):
            for result in results:
                if isinstance(result, Exception):
                    raise result
            return results

    batch = Local(n_items)
    batch.images, batch.labels = np.arange(n_items * 2).reshape(-1, 2), np.arange(n_items)
    for name, value in attributes.items():
        setattr(batch, name, value)
    return batch.work()


def test_other_methods_and_class_attributes_are_there_in_a_process():
    assert in_process(lambda self, i: self.double(i) + self.limit) == [3, 5, 7, 9]


def test_components_are_there_in_a_process():
    assert in_process(lambda self, i: int(self.images.sum() + self.labels[i])) == [28, 29, 30, 31]


def test_items_by_id_are_there_in_a_process():
    assert in_process(lambda self, i: int(self[i].images.sum())) == [1, 5, 9, 13]


def test_items_as_arguments_are_there_in_a_process():
    assert in_process(lambda self, item: int(item.labels), "items") == [0, 1, 2, 3]


def test_attributes_of_the_batch_are_there_in_a_process():
    results = in_process(lambda self, i: (self.note, self.table["a"]), note="hi", table={"a": 1})
    assert results == [("hi", 1)] * 4


def test_the_length_and_ids_of_the_batch_are_there_in_a_process():
    assert in_process(lambda self, i: (len(self), i in self)) == [(4, True)] * 4


@each_target
def test_per_item_work_of_an_item_in_a_process_gives_the_same(target):
    class Outer(ArrayBatch):
        components = "images"

        @inbatch_parallel("indices", post="give")
        def outer(self, i):
            return sum(self.inner(i, target=target)), self.rng.integers(1000)

        @inbatch_parallel("images", post="give")
        def inner(self, image, i):
            return int(image) * i + int(self.images[i]) + self.rng.integers(1000)

        def give(self, results, *args):
            for result in results:
                if isinstance(result, Exception):
                    raise result
            return results

    dataset = Dataset.from_arrays(Outer, images=np.arange(4))
    results = [
        dataset.p.next_batch(4, seed=3).outer(target=outer) for outer in ("for", "processes")
    ]
    assert results[0] == results[1]


def test_what_the_batch_lacks_is_refused_in_a_process_as_elsewhere():
    with pytest.raises(AttributeError, match=r"has no 'image'. Did you mean 'images'"):
        in_process(lambda self, i: self.image)


def test_a_method_that_catches_everything_still_gets_what_it_asks_for():
    def work(self, i):
        try:
            return int(self.labels[i])
        except BaseException:
            return "lost"

    assert in_process(work) == [0, 1, 2, 3]


def test_only_what_is_asked_for_is_sent():
    class Unsendable:
        def __reduce__(self):
            raise TypeError("not sent")

    assert in_process(lambda self, i: i, other=Unsendable()) == [0, 1, 2, 3]


def test_what_cannot_be_sent_is_refused_with_advice():
    with pytest.raises(ArgumentTypeError, match=r"cannot be sent .* write target=\"threads\""):
        in_process(lambda self, i: self.lock, lock=threading.Lock())


@pytest.mark.parametrize(
    "write",
    [
        lambda self, i: setattr(self, "labels", 3),
        lambda self, i: self.notes.__setitem__(0, 1),
        lambda self, i: setattr(self[i], "labels", 1),
    ],
)
def test_writing_to_the_batch_in_a_process_is_refused(write):
    with pytest.raises((ArgumentTypeError, ValueError), match=r"cannot write|read-only"):
        in_process(write, notes=[0])


def test_returning_self_from_a_process_is_refused():
    with pytest.raises(ArgumentTypeError, match="self stays in the worker process"):
        in_process(lambda self, i: self)


def test_a_result_that_cannot_be_sent_back_is_refused():
    def work(self, i):
        import threading

        return threading.Lock()

    with pytest.raises(ArgumentTypeError, match="the result, a lock, cannot be sent back"):
        in_process(work)


def test_an_exception_of_a_local_class_comes_back_as_itself():
    class LocalError(Exception):
        def __init__(self, one, two):
            super().__init__(one)
            self.two = two

    def work(self, i):
        raise LocalError(1, [2])

    with pytest.raises(LocalError) as caught:
        in_process(work)
    assert (caught.value.args, caught.value.two) == ((1,), [2])


def test_what_of_an_exception_cannot_be_sent_comes_back_as_its_text():
    def work(self, i):
        import threading

        raise ValueError("mine", threading.Lock())

    with pytest.raises(ValueError, match=r"\('mine', '<unlocked _thread.lock"):
        in_process(work)


def test_an_exception_brings_the_traceback_of_the_worker():
    def work(self, i):
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        in_process(work)
    assert "in work\n" in caught.value.__notes__[0]


def test_the_error_of_a_killed_process_names_the_items():
    class Items(Batch):
        @inbatch_parallel("indices", target="processes")
        def work(self, item_id):
            import os
            import signal

            if item_id == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(BatchflowError, match=r"the item with the id 1: .*3 attempts"):
        Items(2).work()


@pytest.mark.parametrize("target", ["mpc", "m"])
def test_an_old_mpc_method_returns_the_function(target):
    import os

    class Items(Batch):
        @inbatch_parallel("indices", lambda batch, results, *args: results, target=target)
        def work(self, by, more=1):
            def function(item_id, by):
                import os

                return item_id * by + more, os.getpid()

            return function

    results = Items(3).work(10)
    assert [value for value, _ in results] == [1, 11, 21]
    assert os.getpid() not in {pid for _, pid in results}


def test_an_mpc_method_that_takes_the_item_is_the_function():
    class Items(Batch):
        @inbatch_parallel("indices", lambda batch, results: results, target="mpc")
        def work(self, item_id):
            return item_id * 2

    assert Items(3).work() == [0, 2, 4]


def test_an_mpc_method_that_returns_no_function_is_refused():
    class Items(Batch):
        @inbatch_parallel("run_once", target="mpc")
        def work(self):
            return 3

    with pytest.raises(ActionResultError, match='write target="processes"'):
        Items(3).work()


def test_a_pipeline_with_processes_has_the_same_batches():
    def result(target):
        p = Dataset(8, Noisy).p.draw(target=target).draw_once()
        return digest(*(batch.noise for batch in p.gen_batch(4, seed=1, prefetch=2)))

    assert result("processes") == result("for")
