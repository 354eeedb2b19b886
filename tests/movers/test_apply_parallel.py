"""`apply_parallel` in the words of an older batchflow: `p`, lists of `src`, new `dst`, `init`."""

import gc
import weakref

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Batch,
    C,
    Dataset,
    P,
    Pipeline,
    R,
    UnknownNameError,
)
from batchflow.batch import apply_parallel
from batchflow.executors.item_threads import shutdown

WAYS = [{}, {"prefetch": 3}, {"executor": "serial"}]


@pytest.fixture(autouse=True, scope="module")
def _no_pool_is_left():
    yield
    shutdown()


class Signals(ArrayBatch):
    components = "x", "y"

    @apply_parallel
    def shift(self, item, by=1, **kw):
        assert kw == {}
        return item + by

    @apply_parallel
    def scale(self, item, factor=2, **kw):
        return item * factor

    @apply_parallel(src="x", p=0.5)
    def noise(self, item):
        return item + self.rng.normal()

    @apply_parallel(src="x")
    def drop(self, item, p):
        return item * p

    @apply_parallel(src="x", by=10)
    def by_ten(self, item, by, times=1):
        return item + by * times

    @apply_parallel(init="with_ids", post="keep", src="x", dst="y")
    def numbered(self, number, item, plus=0):
        return number * 100 + item + plus

    def with_ids(self, src, dst, plus=0):
        assert (src, dst) == ("x", "y")
        return list(zip(self.indices.tolist(), getattr(self, src), strict=True))

    def keep(self, results, dst, **kwargs):
        setattr(self, dst, results)
        return self


def dataset(n_items=8, cls=Signals):
    return Dataset.from_arrays(cls, x=np.zeros(n_items), y=np.arange(1.0, n_items + 1))


def values(chain, name="x", **options):
    batches = list(chain.gen_batch(4, seed=3, **options))
    return np.concatenate([np.asarray(getattr(batch, name)) for batch in batches]).tolist()


# ---- p: the share of the items


def test_p_is_the_share_of_items_and_no_argument_of_the_function():
    done = dataset(1000).p.shift(src="x", p=0.3).next_batch(1000, seed=1).x
    assert set(done.tolist()) == {0.0, 1.0}
    assert 250 < done.sum() < 350


@pytest.mark.parametrize(
    ("p", "expected"), [(0, [0] * 8), (1, [1] * 8), (0.0, [0] * 8), (None, [1] * 8)]
)
def test_none_and_all_of_the_items(p, expected):
    assert values(dataset().p.shift(src="x", p=p)) == expected


def test_p_draws_anew_for_each_batch():
    done = [b.x.tolist() for b in dataset(64).p.shift(src="x", p=0.5).gen_batch(8, seed=2)]
    assert len({tuple(batch) for batch in done}) > 4


def test_p_has_the_same_bits_at_every_parallelism():
    chain = dataset(32).p.shift(src="x", p=0.5).noise().scale(R.normal(), src="x", p=C("p"))
    chain = {"p": 0.4} >> chain
    expected = values(chain)
    assert len(set(expected)) > 10
    assert [values(chain, **way) for way in WAYS] == [expected] * 3
    assert values(chain, executor="processes", n_workers=2) == expected


@pytest.mark.parametrize("target", ["threads", "for", "processes"])
def test_p_has_the_same_bits_on_every_target(target):
    assert values(dataset().p.noise(target=target)) == values(dataset().p.noise(target="for"))


def test_p_of_the_decorator_is_a_default():
    assert 0 in values(dataset().p.noise())
    assert 0 not in values(dataset().p.noise(p=1))
    assert 0 not in values(dataset().p.noise(p=None))


def test_an_argument_p_of_the_function_itself_stays_its_own():
    data = Dataset.from_arrays(Signals, x=np.ones(4))
    assert values(data.p.drop(p=0.25)) == values(data.p.drop(0.25)) == [0.25] * 4
    assert values(data.p.apply_parallel(lambda item, p: item + p, src="x", p=5)) == [6.0] * 4


def test_the_same_items_of_all_components_are_chosen():
    batch = dataset(50).p.shift(100, src=["x", "y"], p=0.5).next_batch(50)
    assert ((batch.x >= 100) == (batch.y >= 100)).all()
    assert 0 < (batch.x >= 100).sum() < 50


def test_what_is_left_alone_keeps_what_src_has():
    batch = dataset().p.shift(100, src="y", dst="x", p=0.5).next_batch(8)
    assert [x if x < 100 else x - 100 for x in batch.x] == batch.y.tolist()


def test_several_sources_are_left_alone_together():
    swap = dataset().p.apply_parallel(lambda x, y: (y, x), src=("x", "y"), p=0.5)
    batch = swap.next_batch(8, seed=0)
    assert 0 < (batch.x > 0).sum() < 8
    assert (batch.x + batch.y).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_values_for_each_item_go_to_the_items_that_are_chosen():
    chain = dataset().p.shift(P([10, 20, 30, 40, 50, 60, 70, 80]), src="x", p=0.5)
    done = chain.next_batch(8, seed=5).x.tolist()
    assert all(x in (0, 10 * (place + 1)) for place, x in enumerate(done))


def test_items_that_are_changed_in_place_are_chosen_too():
    def mark(item):
        item.x = 7.0

    done = dataset(100).p.apply_parallel(mark, p=0.5).next_batch(100).x
    assert set(done.tolist()) == {0.0, 7.0}


def test_the_error_of_a_chosen_item_names_that_item():
    def fail(item):
        raise ValueError("no")

    with pytest.raises(ValueError) as caught:
        dataset().p.apply_parallel(fail, src="x", p=0.4).next_batch(8, seed=4)
    chosen = dataset().p.apply_parallel(np.negative, src="y", p=0.4).next_batch(8, seed=4).y
    first = int(np.argmax(chosen < 0))
    assert f"in the call of fail() for the item with the id {first}" in caught.value.__notes__


@pytest.mark.parametrize(
    ("p", "error"),
    [
        (1.5, ArgumentValueError),
        (-1, ArgumentValueError),
        ("half", ArgumentTypeError),
        ([0.5, 0.5], ArgumentTypeError),
        (float("nan"), ArgumentValueError),
    ],
)
def test_what_is_no_probability_is_refused(p, error):
    with pytest.raises(error, match="from 0 to 1"):
        dataset().p.shift(src="x", p=p).next_batch(4)


def test_p_needs_as_many_places_as_sources():
    with pytest.raises(ArgumentValueError, match="as many components"):
        dataset().p.apply_parallel(lambda x: (x, x), src="x", dst=("x", "y"), p=0.5).next_batch(4)


def raising(item):
    raise ValueError(item)


def passing(batch, results, *args, **kwargs):
    try:
        raise next(result for result in results if isinstance(result, Exception))
    finally:
        results = []


@pytest.mark.parametrize(
    "options",
    [{"src": "x"}, {"src": ["x", "y"]}, {"src": "x", "post": passing}],
    ids=["one", "list", "post"],
)
@pytest.mark.parametrize("p", [None, 1, 0.5])
def test_no_batch_is_alive_after_an_error_of_an_item(options, p):
    gc.collect()
    gc.disable()
    try:
        batch = dataset().next_batch(8)
        gone = weakref.ref(batch)
        with pytest.raises(ValueError):
            batch.apply_parallel(raising, p=p, target="for", **options)
        del batch
        assert gone() is None
    finally:
        gc.enable()


# ---- a list of src


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_list_of_sources_repeats_the_call(way):
    chain = dataset(4).p.shift(1, src=["x", "y"])
    assert values(chain, **way) == [1, 1, 1, 1]
    assert values(chain, "y", **way) == [2, 3, 4, 5]


def test_a_list_of_sources_has_a_list_of_places():
    chain = dataset(4).p.scale(10, src=["x", "y"], dst=["y", "x"])
    assert (values(chain), values(chain, "y")) == ([10, 20, 30, 40], [0, 0, 0, 0])


def test_a_list_of_tuples_repeats_the_call_with_several_arguments():
    chain = dataset(4).p.apply_parallel(np.add, src=[("x", "y"), ("y", "y")], dst=["x", "y"])
    assert (values(chain), values(chain, "y")) == ([1, 2, 3, 4], [2, 4, 6, 8])


def test_a_list_of_one_source_is_that_source():
    assert values(dataset(4).p.shift(src=["x"])) == [1, 1, 1, 1]


def test_nothing_is_written_if_a_later_round_fails():
    def fail(item):
        if item:
            raise ValueError
        return item + 5

    batch = dataset(4).next_batch(4)
    with pytest.raises(ValueError):
        batch.apply_parallel(fail, src=["x", "y"])
    assert batch.x.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dst", ["x", ["x"], ("x", "y", "x")])
def test_a_list_of_sources_with_other_places_is_refused(dst):
    with pytest.raises(ArgumentTypeError, match=r"a tuple: src=\('x', 'y'\)"):
        dataset(4).p.apply_parallel(np.add, src=["x", "y"], dst=dst).next_batch(4)


def test_a_function_of_two_arguments_is_told_of_the_tuple():
    with pytest.raises(TypeError) as caught:
        dataset(4).p.apply_parallel(lambda a, b: a + b, src=["x", "y"]).next_batch(4)
    assert any("src=('x', 'y')" in note for note in caught.value.__notes__)


# ---- a tuple of src


def test_a_tuple_gives_several_arguments():
    assert values(dataset(4).p.apply_parallel(lambda a, b: a - b, src=("x", "y"), dst="x")) == [
        -1, -2, -3, -4,
    ]  # fmt: skip


def test_a_tuple_whose_second_value_would_take_the_place_of_a_default_is_refused():
    for chain in (
        dataset(4).p.scale(src=("x", "y"), dst="x"),
        dataset(4).p.apply_parallel(lambda a, b=1: a, src=("x", "y"), dst="x"),
        dataset(4).p.apply_parallel("scale", src=("x", "y"), dst="x"),
    ):
        with pytest.raises(ArgumentTypeError, match=r"write a list: src=\['x', 'y'\]"):
            chain.next_batch(4)


def test_what_the_class_itself_says_is_taken():
    class Pairs(Signals):
        @apply_parallel(src=("x", "y"), dst="x")
        def add(self, one, two=0):
            return one + two

    assert values(dataset(4, Pairs).p.add()) == [1, 2, 3, 4]


def test_map_and_filter_take_lists_as_before():
    chain = dataset(4).p.map(lambda a, b=0: a + b, src=["x", "y"], dst="x")
    assert values(chain.filter(lambda a, b=0: b > 2, src=["x", "y"])) == [3, 4]


# ---- dst that is no component yet


@pytest.mark.parametrize("way", [*WAYS, {"executor": "processes", "n_workers": 2}], ids=str)
@pytest.mark.parametrize("base", [Batch, ArrayBatch])
def test_a_new_place_becomes_a_component(base, way):
    class Mine(base):
        components = "x"

    data = Dataset.from_arrays(Mine, x=np.arange(6.0))
    chain = data.p.apply_parallel(np.square, src="x", dst="squares")
    chain = chain.filter(B.squares > 1).rebatch(3).update(B.squares, B.squares + 1)
    batches = list(chain.gen_batch(2, **way))
    assert [np.asarray(b.squares).tolist() for b in batches] == [[5, 10, 17], [26]]
    assert [b.components for b in batches] == [("x", "squares")] * 2
    assert batches[0][2].squares == 5
    assert Mine.components == ("x",)
    assert np.asarray(batches[0][[3, 2]].squares).tolist() == [10, 5]
    assert np.asarray(batches[0].deepcopy().squares).tolist() == [5, 10, 17]


def test_merging_batches_of_which_one_lacks_the_component_is_refused():
    one, two = dataset(4).next_batch(2), dataset(4).next_batch(2)
    one.apply_parallel(np.square, src="x", dst="squares")
    with pytest.raises(ArgumentTypeError, match="squares"):
        Signals.merge([one, two])


@pytest.mark.parametrize("name", ["index", "shift", "_hidden", "no name", "data"])
def test_a_place_that_can_be_no_component_is_refused(name):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=name):
        dataset(4).p.apply_parallel(np.square, src="x", dst=name).next_batch(4)


def test_a_misspelt_place_is_refused():
    class Mine(ArrayBatch):
        components = "images"

    with pytest.raises(UnknownNameError, match="Did you mean 'images'"):
        Dataset.from_arrays(Mine, images=[1]).p.apply_parallel(
            np.square, src="images", dst="imagse"
        ).next_batch(1)


# ---- the decorator


def test_arguments_of_the_method_are_options_of_the_decorator():
    assert values(dataset(4).p.by_ten()) == [10] * 4
    assert values(dataset(4).p.by_ten(times=3)) == [30] * 4
    assert values(dataset(4).p.by_ten(by=1, times=3)) == [3] * 4
    assert dataset(4).next_batch(4).by_ten(by=2).x.tolist() == [2] * 4


def test_init_gives_the_first_arguments_and_post_gets_the_places():
    assert values(dataset(4).p.numbered(plus=5), "y") == [5, 105, 205, 305]


def test_a_post_needs_src_for_what_items_that_are_left_alone_keep():
    class Kept(Signals):
        @apply_parallel(init="ids", post="into_y")
        def hundred(self, number):
            return number * 100

        def ids(self, **_):
            return [(number,) for number in self.indices.tolist()]

        def into_y(self, results, **_):
            self.y = results
            return self

    assert values(dataset(4, Kept).p.hundred(), "y") == [0, 100, 200, 300]
    with pytest.raises(ArgumentValueError, match=r"left alone what src has: name the component"):
        dataset(4, Kept).p.hundred(p=0.5).run(4)


@pytest.mark.parametrize("option", ["requires_rng", "rng_seeds"])
def test_an_old_option_says_what_is_there_instead(option):
    with pytest.raises(ArgumentTypeError, match=r"self\.rng is a generator of the item's own"):
        apply_parallel(**{option: True})(lambda self, item: item)


def test_a_misspelt_option_is_refused_also_where_the_method_takes_anything():
    with pytest.raises(ArgumentTypeError, match="Did you mean 'target'"):
        apply_parallel(tarqet="for")(lambda self, item, **kw: item)


def test_a_piece_without_a_dataset_takes_the_same():
    piece = Pipeline().shift(1, src=["x", "y"], p=1)
    assert values(dataset(4) >> piece) == [1] * 4
