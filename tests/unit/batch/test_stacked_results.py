"""Results of per-item work that become one array: what the list of them would have become."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from batchflow import ArgumentValueError, ArrayBatch, Batch, Dataset
from batchflow.arrays import exact_array
from batchflow.batch import apply_parallel
from batchflow.batch.items import stacked
from batchflow.batch.items.parallel import apply_to_items

N_ITEMS, SHAPE = 6, (40, 40, 3)  # 4,800 bytes: each result is written to its place

pytestmark = pytest.mark.usefixtures("no_pool_is_left")
each_target = pytest.mark.parametrize("target", ["for", "threads"])


class Pictures(ArrayBatch):
    components = "images", "files"

    @apply_parallel(init="files", dst="images")
    def read(self, number):
        return picture(number)


class Loose(Batch):
    components = "images", "files"


def picture(number, dtype="u1"):
    return np.random.default_rng(int(number)).integers(0, 200, SHAPE).astype(dtype)


def batch_of(cls):
    batch = cls(np.arange(N_ITEMS) + 10)
    batch.files = np.arange(N_ITEMS)
    return batch


def applied(cls, function, target, **options):
    options.setdefault("src", "files")
    batch = apply_to_items(batch_of(cls), function, dst="images", target=target, **options)
    return batch.images


def is_the_same(one, other):
    return one.dtype == other.dtype and one.strides == other.strides and bool(np.all(one == other))


WAYS = {
    "plain": picture,
    "flipped": lambda n: picture(n)[:, ::-1],
    "cut": lambda n: np.pad(picture(n), ((1, 1), (1, 1), (0, 0)))[1:-1, 1:-1],
    "columns first": lambda n: np.asfortranarray(picture(n)),
    "channels first": lambda n: picture(n).transpose(2, 0, 1),
    "columns first in one": lambda n: picture(n) if n else np.asfortranarray(picture(n)),
    "of one value": lambda n: np.broadcast_to(np.uint8(n), SHAPE),
    "other byte order": lambda n: picture(n, ">i4"),
    "bools": lambda n: picture(n) > 100,
    "wider at the end": lambda n: picture(n, "u1" if n < N_ITEMS - 1 else "f4"),
    "wider at first": lambda n: picture(n, "u1" if n else "i8"),
    "numbers in one": lambda n: picture(n) if n != 2 else picture(n).tolist(),
    "small": lambda n: picture(n)[0, 0],
    "one number each": int,
}


@each_target
@pytest.mark.parametrize("cls", [Pictures, Loose])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "numbers in one"])
def test_it_is_the_array_that_the_list_would_be(way, cls, target):
    expected = exact_array([WAYS[way](number) for number in range(N_ITEMS)])
    assert is_the_same(applied(cls, WAYS[way], target), expected)


@each_target
def test_a_list_of_numbers_among_arrays_is_stacked_by_an_array_batch(target):
    expected = exact_array([picture(number).tolist() for number in range(N_ITEMS)])
    assert np.array_equal(applied(Pictures, WAYS["numbers in one"], target), expected)


@each_target
def test_masks_of_one_item_stay(target):
    function = lambda n: np.ma.masked_equal(picture(n), 7) if n == 4 else picture(n)  # noqa: E731
    images = applied(Pictures, function, target)
    assert np.array_equal(np.ma.getmaskarray(images)[4], picture(4) == 7)


@each_target
def test_without_a_source_an_array_batch_stacks_as_well(target):
    batch = batch_of(Pictures)
    batch.read(target=target)
    assert is_the_same(batch.images, exact_array([picture(n) for n in range(N_ITEMS)]))


@each_target
def test_without_a_source_a_list_stays_a_list(target):
    images = applied(Loose, picture, target, src=None, init="files")
    assert type(images) is list
    assert np.array_equal(images[3], picture(3))


@each_target
def test_results_of_other_shapes_own_their_memory(target):
    images = applied(Loose, lambda n: picture(n)[:39] if n == 5 else picture(n), target)
    assert [len(image) for image in images] == [40] * 5 + [39]
    assert all(image.base is None for image in images[:5])


def test_results_of_other_shapes_are_refused_by_an_array_batch():
    with pytest.raises(ArgumentValueError, match=r"different shapes: 10 \(40, 40, 3\), 15 \(39"):
        applied(Pictures, lambda n: picture(n)[: 40 - (n == 5)], "for", src=None, init="files")


@each_target
def test_none_in_the_middle_is_kept(target):
    images = applied(Loose, lambda n: None if n == 3 else picture(n), target)
    assert images[3] is None
    assert np.array_equal(images[4], picture(4))


@each_target
def test_an_error_in_the_middle_names_its_item_and_changes_nothing(target):
    def function(number):
        if number == 3:
            raise ZeroDivisionError
        return picture(number)

    batch = batch_of(Pictures)
    with pytest.raises(ZeroDivisionError) as caught:
        apply_to_items(batch, function, src="files", target=target)
    assert "for the item with the id 13" in caught.value.__notes__[0]
    assert batch.files.tolist() == list(range(N_ITEMS))


def test_the_array_is_not_what_the_function_has_returned():
    returned = []

    def function(number):
        returned.append(picture(number))
        return returned[-1]

    images = applied(Pictures, function, "for")
    returned[0][:] = 0
    assert np.array_equal(images[0], picture(0))


@each_target
def test_with_p_the_other_items_keep_what_they_have(target):
    dataset = Dataset.from_arrays(Pictures, images=[picture(9)] * N_ITEMS, files=range(N_ITEMS))
    chain = dataset.p.apply_parallel(lambda i: i[:, ::-1], src="images", p=0.5, target=target)
    images = chain.next_batch(N_ITEMS, seed=3).images
    kinds = {image.tobytes() for image in images}
    assert kinds == {picture(9).tobytes(), picture(9)[:, ::-1].tobytes()}


def test_work_in_the_work_for_an_item_has_an_array_of_its_own():
    def function(number):
        inner = applied(Pictures, lambda n: picture(n + number), "threads")
        return inner[number]

    expected = exact_array([picture(2 * number) for number in range(N_ITEMS)])
    assert is_the_same(applied(Pictures, function, "threads"), expected)


def test_where_there_is_no_memory_for_all_each_is_kept(monkeypatch):
    def full(*_):
        raise MemoryError

    kept, pictures = stacked.Stacked(2), [picture(0), picture(1)]
    with monkeypatch.context() as patch:
        patch.setattr(stacked.np, "empty", full)
        results = [kept.kept(*given) for given in enumerate(pictures)]
    assert kept.taken(results) is results
    assert results[1] is pictures[1]


def test_results_that_came_before_the_array_are_put_in_at_the_end():
    kept, pictures = stacked.Stacked(3), [picture(n) for n in range(3)]
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(kept.kept, 2, pictures[2]).result()
    array = kept.taken([kept.kept(0, pictures[0]), kept.kept(1, pictures[1]), early])
    assert early is pictures[2]
    assert is_the_same(array, exact_array(pictures))
