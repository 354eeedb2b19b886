"""`apply_parallel`, decorator and action: sources, places of results, shapes, errors."""

import functools
import threading

import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    SkipBatch,
    UnknownNameError,
    action,
)
from batchflow.batch import apply_parallel, inbatch_parallel
from batchflow.batch.items.arguments import PerItem
from batchflow.batch.items.parallel import apply_to_items
from batchflow.testing import hand_over_every_batch

TARGETS = ("for", "threads", "async", "processes")
each_target = pytest.mark.parametrize("target", TARGETS)


pytestmark = pytest.mark.usefixtures("no_pool_is_left")


class Images(ArrayBatch):
    components = "images", "masks"

    @apply_parallel
    def add(self, image, value, times=1):
        return image + value * times

    @apply_parallel(src="images", dst="masks", target="for")
    def threshold(self, image, at):
        return image > at

    @apply_parallel(src=("images", "masks"))
    def swap(self, image, mask):
        return mask, image

    @apply_parallel(src="images", post="total")
    def sums(self, image):
        return image.sum()

    @apply_parallel(src="images")
    def jitter(self, image):
        return image + self.rng.normal(size=image.shape)

    @apply_parallel(src="images")
    def _hidden(self, image):
        return image * 0

    @apply_parallel(src="images")
    async def load(self, image):
        return image + 100

    def plain(self, image, by=2):
        return image * by

    def total(self, results):
        return sum(results)


class Loose(Batch):
    components = "tokens", "lengths"


@pytest.fixture
def batch():
    return make()


def make(n_items=3):
    batch = Images(n_items)
    batch.images = np.arange(n_items * 2.0).reshape(n_items, 2)
    batch.masks = np.zeros((n_items, 2))
    return batch


IMAGES = np.arange(6.0).reshape(3, 2)


# ---- the function


@each_target
def test_any_function_can_be_applied(batch, target):
    apply_to_items(batch, np.sqrt, src="images", target=target)
    assert np.array_equal(batch.images, np.sqrt(IMAGES))


@each_target
def test_a_lambda_can_be_applied(batch, target):
    factor = 3
    apply_to_items(batch, lambda image: image * factor, src="images", target=target)
    assert np.array_equal(batch.images, IMAGES * 3)


@each_target
def test_a_method_can_be_applied_by_its_name(batch, target):
    apply_to_items(batch, "plain", 5, src="images", target=target)
    assert np.array_equal(batch.images, IMAGES * 5)


@each_target
def test_a_decorated_method_can_be_applied_by_its_name(batch, target):
    apply_to_items(batch, "add", 5, src="masks", target=target)
    assert (batch.masks == 5).all()


def test_a_method_with_a_decorator_of_the_users_keeps_it():
    def twice(method):
        @functools.wraps(method)
        def wrapper(self, image):
            return method(self, image) * 2

        return wrapper

    class Decorated(Images):
        @twice
        def one(self, image):
            return image * 0 + 1

    other = Decorated(2)
    other.images = np.zeros(2)
    assert apply_to_items(other, "one", src="images").images.tolist() == [2, 2]


@each_target
def test_the_function_sees_its_own_arguments_only(batch, target):
    def function(image, *args, **kwargs):
        assert (args, kwargs) == ((1,), {"k": 2})
        return image

    options = {"n_workers": 2, "timeout": 20, "target": target}
    apply_to_items(batch, function, 1, src="images", dst="masks", k=2, **options)
    assert np.array_equal(batch.masks, IMAGES)


def test_each_item_gets_its_own_of_per_item_values(batch):
    apply_to_items(batch, lambda x, a, b: x * a + b, PerItem([1, 2, 3]), src="images", b=1)
    assert np.array_equal(batch.images, IMAGES * [[1], [2], [3]] + 1)


def test_an_async_function_is_awaited(batch):
    async def function(image):
        return image + 1

    assert np.array_equal(apply_to_items(batch, function, src="images").images, IMAGES + 1)


# ---- where from, where to


def test_the_result_replaces_the_source(batch):
    assert apply_to_items(batch, np.negative, src="images") is batch
    assert np.array_equal(batch.images, -IMAGES)


def test_the_result_goes_where_it_is_told(batch):
    apply_to_items(batch, np.negative, src="images", dst="masks")
    assert np.array_equal(batch.masks, -IMAGES)
    assert np.array_equal(batch.images, IMAGES)


def test_the_data_of_a_batch_without_components_is_the_default():
    batch = ArrayBatch(2)
    batch.data = [1.0, 4.0]
    assert apply_to_items(batch, np.sqrt).data.tolist() == [1, 2]


def test_several_sources_are_several_arguments(batch):
    apply_to_items(batch, lambda a, b: a + b + 1, src=("images", "masks"), dst="masks")
    assert np.array_equal(batch.masks, IMAGES + 1)


def test_several_places_take_a_tuple(batch):
    apply_to_items(batch, lambda x: (x + 1, x.sum()), src="images", dst=("images", "masks"))
    assert np.array_equal(batch.images, IMAGES + 1)
    assert batch.masks.tolist() == [1, 5, 9]


def test_items_themselves_are_the_source_of_a_batch_with_components(batch):
    apply_to_items(batch, lambda item: item.images.sum(), dst="masks")
    assert batch.masks.tolist() == [1, 5, 9]


def test_items_can_be_changed_in_place(batch):
    def clear(item):
        item.images = 0

    assert not apply_to_items(batch, clear).images.any()


def test_results_for_items_themselves_need_a_place(batch):
    with pytest.raises(ActionResultError, match=r"say by dst= .*"):
        apply_to_items(batch, lambda item: 3)


def test_post_gets_the_results_instead(batch):
    def post(batch, results, *args, **kwargs):
        return [float(r) for r in results], args, kwargs

    got = apply_to_items(batch, lambda x, a: x.sum() + a, 1, src="images", post=post)
    assert got == ([2, 6, 10], (1,), {})


# ---- what the results become


def test_an_array_batch_stacks_the_results(batch):
    apply_to_items(batch, lambda x: np.outer(x, x), src="images")
    assert batch.images.shape == (3, 2, 2)


def test_an_array_stays_an_array_in_any_batch():
    batch = Loose(3)
    batch.tokens = np.arange(3)
    assert apply_to_items(batch, lambda x: x + 1, src="tokens").tokens.tolist() == [1, 2, 3]


def test_results_of_several_shapes_become_a_list():
    batch = Loose(3)
    batch.tokens = np.arange(3)
    apply_to_items(batch, np.arange, src="tokens")
    assert [t.tolist() for t in batch.tokens] == [[], [0], [0, 1]]


def test_a_list_stays_a_list():
    batch = Loose(2)
    batch.lengths = [1, 2]
    assert apply_to_items(batch, lambda x: x * 2, src="lengths").lengths == [2, 4]


def test_an_array_of_objects_stays_one():
    batch = Loose(2)
    batch.tokens = np.empty(2, dtype=object)
    batch.tokens[:] = [["a"], ["b", "c"]]
    apply_to_items(batch, lambda tokens: [*tokens, "end"], src="tokens")
    assert (batch.tokens.dtype, batch.tokens.tolist()) == (
        object,
        [["a", "end"], ["b", "c", "end"]],
    )


def test_lists_as_results_are_not_made_an_array():
    batch = Loose(2)
    batch.lengths = np.array([1, 2])
    assert apply_to_items(batch, lambda n: [n, n], src="lengths").lengths == [[1, 1], [2, 2]]


def test_results_that_do_not_fit_an_array_batch_are_refused(batch):
    with pytest.raises(ArgumentValueError, match=r"Images\.images: the items have different"):
        apply_to_items(batch, lambda x: np.zeros(int(x[0])), src="images")


# ---- errors


def test_an_unknown_source_is_refused_with_a_suggestion(batch):
    with pytest.raises(UnknownNameError, match="Did you mean 'images'"):
        apply_to_items(batch, np.sqrt, src="image")


def test_an_unknown_place_is_refused_with_a_suggestion(batch):
    with pytest.raises(UnknownNameError, match="Did you mean 'masks'"):
        apply_to_items(batch, np.sqrt, src="images", dst="mask")


def test_an_unknown_method_is_refused_with_a_suggestion(batch):
    with pytest.raises(UnknownNameError, match="Did you mean 'plain'"):
        apply_to_items(batch, "plane", src="images")


@pytest.mark.parametrize("function", [None, 3, ["plain"]])
def test_what_is_no_function_is_refused(batch, function):
    with pytest.raises(ArgumentTypeError, match="takes a function or the name"):
        apply_to_items(batch, function, src="images")


def test_a_source_that_is_no_name_is_refused(batch):
    with pytest.raises(ArgumentTypeError, match="names of components"):
        apply_to_items(batch, np.sqrt, src=3)


def test_a_source_without_data_is_refused():
    with pytest.raises(ArgumentValueError, match=r"Images\.images has no data yet"):
        apply_to_items(Images(3), np.sqrt, src="images")


def test_a_source_of_another_length_is_refused():
    batch = Loose(3)
    batch.tokens = [1, 2]
    with pytest.raises(ArgumentValueError, match=r"Loose\.tokens: expected 3 elements, it has 2"):
        apply_to_items(batch, np.sqrt, src="tokens")


@pytest.mark.parametrize("result", [1, (1, 2, 3), "ab"])
def test_a_result_that_is_no_tuple_for_its_places_names_the_item(batch, result):
    def function(image):
        return result if image[0] == 2 else (1, 2)

    with pytest.raises(ActionResultError, match=r"must return a tuple of 2") as caught:
        apply_to_items(batch, function, src="images", dst=["images", "masks"])
    assert caught.value.__notes__ == ["in the call of function() for the item with the id 1"]


@each_target
def test_an_error_names_the_item_and_nothing_is_written(batch, target):
    def function(image):
        if image[0] == 2:
            raise KeyError("mine")
        return image * 0

    with pytest.raises(KeyError) as caught:
        apply_to_items(batch, function, src="images", target=target)
    assert "in the call of function() for the item with the id 1" in caught.value.__notes__
    assert np.array_equal(batch.images, IMAGES)


def test_an_item_can_skip_the_batch(batch):
    def function(image):
        raise SkipBatch

    with pytest.raises(SkipBatch):
        apply_to_items(batch, function, src="images")


def test_a_timeout_is_kept(batch):
    gate = threading.Event()
    with pytest.raises(TimeoutError, match=r"<lambda>\(\): 3 of 3 .* ids \[0, 1, 2\]"):
        apply_to_items(batch, lambda image: gate.wait(20), src="images", timeout=0.1)
    gate.set()


# ---- the decorator


def test_the_decorator_works_without_parentheses(batch):
    assert np.array_equal(batch.add(1, times=2, src="images").images, IMAGES + 2)


def test_options_of_the_decorator_are_defaults(batch):
    assert np.array_equal(batch.threshold(2).masks, IMAGES > 2)


def test_the_call_gives_other_options(batch):
    batch.threshold(2, dst="images", target="threads")
    assert np.array_equal(batch.images, IMAGES > 2)


def test_several_sources_of_the_decorator(batch):
    batch.swap()
    assert (np.array_equal(batch.masks, IMAGES), batch.images.any()) == (True, False)


def test_post_of_the_decorator(batch):
    assert batch.sums() == IMAGES.sum()


def test_an_async_method_of_the_decorator(batch):
    assert np.array_equal(batch.load().images, IMAGES + 100)


def test_a_decorated_method_is_an_action():
    dataset = Dataset.from_arrays(Images, images=IMAGES, masks=IMAGES * 0)
    with hand_over_every_batch():
        batches = list(dataset.p.add(1, src="images").threshold(2).load().gen_batch(2, prefetch=2))
    assert np.array_equal(np.concatenate([b.images for b in batches]), IMAGES + 101)


def test_a_decorated_method_with_an_underscore_is_a_method(batch):
    assert ("_hidden" in Images._actions, batch._hidden().images.any()) == (False, False)


def test_the_mark_of_an_action_can_be_put_above():
    class Ordered(Images):
        @action(singleton=True)
        @apply_parallel(src="images")
        def count(self, image):
            return image

    assert Ordered._actions["count"].spec.singleton


def test_an_unknown_option_is_refused_when_the_method_is_defined():
    with pytest.raises(ArgumentTypeError, match=r"no option 'scr'. Did you mean 'src'"):
        apply_parallel(scr="images")(lambda self, image: image)


@pytest.mark.parametrize("options", [{"target": "thread"}, {"n_workers": 0}, {"src": 3}])
def test_an_option_that_makes_no_sense_is_refused_when_the_method_is_defined(options):
    with pytest.raises((ArgumentValueError, ArgumentTypeError)):
        apply_parallel(**options)(lambda self, image: image)


def test_an_argument_too_many_is_refused_when_the_action_is_chained():
    with pytest.raises(ArgumentTypeError, match=r"threshold\(self, at, "):
        Dataset(3, Images).p.threshold(1, 2)


def test_an_unknown_keyword_is_refused_when_the_action_is_chained():
    with pytest.raises(ArgumentTypeError, match="Did you mean 'times'"):
        Dataset(3, Images).p.add(1, tims=2)


@each_target
@pytest.mark.parametrize("n_workers", [1, 3])
def test_random_numbers_do_not_depend_on_target_and_workers(target, n_workers):
    dataset = Dataset.from_arrays(Images, images=IMAGES, masks=IMAGES)
    expected = dataset.p.jitter(target="for").next_batch(3, seed=3).images
    pipeline = dataset.p.jitter(target=target, n_workers=n_workers)
    assert np.array_equal(pipeline.next_batch(3, seed=3).images, expected)


# ---- the action of every batch


def test_every_batch_has_the_action():
    dataset = Dataset.from_arrays(Images, images=IMAGES, masks=IMAGES)
    batch = dataset.p.apply_parallel(np.sqrt, src="images", dst="masks").next_batch(3)
    assert np.array_equal(batch.masks, np.sqrt(IMAGES))


def test_the_action_takes_options_and_arguments():
    dataset = Dataset.from_arrays(Images, images=IMAGES, masks=IMAGES)
    pipeline = dataset.p.apply_parallel("plain", by=3, src="images", target="for", n_workers=1)
    assert np.array_equal(pipeline.next_batch(3).images, IMAGES * 3)


def test_per_item_and_applied_methods_can_be_mixed():
    class Mixed(Images):
        @action
        @inbatch_parallel("images")
        def clear(self, image):
            image[:] = 0

    dataset = Dataset.from_arrays(Mixed, images=IMAGES, masks=IMAGES)
    assert dataset.p.clear().add(1, src="images").next_batch(3).images.tolist() == [[1, 1]] * 3
