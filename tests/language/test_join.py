"""`join`: the next action gets a batch with the same ids from another dataset or pipeline."""

import copy
import pickle
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from batchflow import (
    ArrayBatch,
    B,
    Batch,
    Dataset,
    I,
    Pipeline,
    SkipBatch,
    StopPipeline,
    V,
    action,
    inbatch_parallel,
    model,
)
from batchflow.testing import nothing_left

from . import regrouping
from .regrouping import each_prefetch, xs


class Rows(regrouping.Rows):
    @action
    def add_two(self, one, two):
        self.x = self.x + one.x + 1000 * two.x
        return self

    @action
    def give_other(self, other):
        return other


def rows(n_items=12, first=0, cls=Rows):
    x = np.arange(first, first + n_items, dtype=float)
    return Dataset.from_arrays(cls, np.arange(n_items), x=x, y=np.arange(n_items))


@pytest.fixture
def left():
    return rows()


@pytest.fixture
def right():
    return rows(first=100)


def orders_a_step(pipeline):
    return "ordered section" in repr(pipeline)


# ---- what the next action gets


@each_prefetch
@pytest.mark.parametrize("shuffle", [False, True, 3])
def test_the_joined_batch_has_the_same_ids(left, right, prefetch, shuffle):
    pipeline = left.p.join(right).call(lambda o: o.indices.tolist(), save_to=B.got)
    for batch in pipeline.gen_batch(5, shuffle=shuffle, prefetch=prefetch, n_epochs=2):
        assert batch.got == batch.indices.tolist()


def test_a_dataset_with_its_items_in_another_order_is_joined_by_id(left):
    other = Dataset.from_arrays(Rows, np.arange(12)[::-1], x=np.arange(12.0)[::-1], y=np.ones(12))
    assert xs(left.p.join(other).add(), 12) == [[2.0 * i for i in range(12)]]


def test_a_joined_subset_is_found_by_id(left):
    part = left.create_subset([11, 5, 6, 0, 1, 2])
    joined = part.p.join(left).add()
    assert xs(joined, 6) == [[22.0, 10.0, 12.0, 0.0, 2.0, 4.0]]


def test_the_joined_batch_comes_before_the_actions_own_arguments(left, right):
    assert xs(left.p.join(right).add(10), 3)[0] == [1000.0, 1011.0, 1022.0]


def test_keyword_arguments_stay_keyword_arguments(left, right):
    assert xs(left.p.join(right).add(factor=B.number + 1), 3)[1][0] == 3 + 2 * 103


def test_only_the_next_action_gets_it(left, right):
    assert xs(left.p.join(right).add().put(7), 12) == [[7.0] * 12]


def test_two_others_in_one_join_come_in_order(left, right):
    assert xs(left.p.join(right, left).add_two(), 2)[0] == [100.0, 1 + 101 + 1000]


def test_two_joins_in_a_row_are_one_join_of_two(left, right):
    assert xs(left.p.join(right).join(left).add_two()) == xs(left.p.join(right, left).add_two())


def test_the_steps_of_a_joined_pipeline_are_taken(left, right):
    assert xs(left.p.join(right.p.put(B.number)).add(), 6)[1] == [7.0, 8, 9, 10, 11, 12]


def test_the_joined_batch_has_the_class_of_its_dataset(left):
    class Other(Batch):
        pass

    pipeline = left.p.join(Dataset(12, Other)).call(lambda o: type(o), save_to=B.got)
    assert next(pipeline.gen_batch(4)).got is Other


@pytest.mark.parametrize("fact", ["number", "epoch"])
def test_the_joined_batch_has_number_and_epoch_of_the_batch_it_is_joined_to(left, right, fact):
    pipeline = left.p.join(right).call(lambda o: getattr(o, fact), save_to=B.got)
    run = list(pipeline.gen_batch(4, n_epochs=2))
    assert [batch.got for batch in run] == [getattr(batch, fact) for batch in run]


@each_prefetch
def test_progress_in_a_joined_pipeline_is_that_of_the_run(left, right, prefetch):
    inner = right.p.put(I.current * 10 + I.max)
    got = xs(left.p.join(inner).call(lambda o: o.x, save_to=B.x), prefetch=prefetch, n_epochs=2)
    assert [x[0] for x in got] == [16.0, 26.0, 36.0, 46.0, 56.0, 66.0]


def test_the_joined_batch_knows_its_own_dataset(left, right):
    pipeline = left.p.join(right).call(lambda o: o.dataset, save_to=B.got)
    assert next(pipeline.gen_batch(4)).got is right


def test_expressions_of_a_joined_pipeline_read_its_own_variables(left, right):
    inner = right.p.init_variable("k", 5).put(V("k"))
    outer = left.p.init_variable("k", 3).join(inner).add(V("k"))
    assert xs(outer, 2)[0] == [15.0, 16.0]


def test_writing_to_the_joined_batch_leaves_the_dataset_alone(left, right):
    pipeline = left.p.join(right).call(lambda o: o.x.fill(0))
    pipeline.run(4)
    assert next(right.gen_batch(12)).x.min() == 100


def test_a_pipeline_joined_with_its_own_dataset_gets_other_arrays(left):
    pipeline = left.p.join(left).call(lambda o, x: o.x is x, B.x, save_to=B.got)
    assert next(pipeline.gen_batch(4)).got is False


# ---- with every kind of action


def test_call_gets_the_joined_batch_first(left, right):
    pipeline = left.p.join(right).call(lambda o, n: (o.x[0], n), B.number, save_to=B.got)
    assert [batch.got for batch in pipeline.gen_batch(6)] == [(100.0, 0), (106.0, 1)]


@each_prefetch
def test_load_makes_components_of_it(left, right, prefetch):
    pipeline = left.p.join(right).load(components="x")
    assert xs(pipeline, 6, prefetch=prefetch) == [
        [100.0, 101, 102, 103, 104, 105],
        [106.0, 107, 108, 109, 110, 111],
    ]


def test_load_takes_components_of_several_joined_batches(left, right):
    class Image(ArrayBatch):
        components = "x"

    class Mask(ArrayBatch):
        components = "y"

    images = Dataset.from_arrays(Image, x=np.arange(12) + 50)
    masks = Dataset.from_arrays(Mask, y=np.arange(12) + 70)
    batch = next(left.p.join(images, masks).load(components=("x", "y")).gen_batch(2))
    assert (batch.x.tolist(), batch.y.tolist()) == ([50, 51], [70, 71])


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_an_injected_model_comes_before_the_joined_batch(mode):
    class Modelled(Rows):
        if mode == "static":

            @model()
            def net():
                return "net"

        else:

            @model(mode="dynamic")
            def net(batch):
                return "net"

        @action(model="net", singleton=True)
        def train(self, net, other, factor):
            self.got = (net, other.x[0], factor)
            return self

    data = rows(cls=Modelled)
    pipeline = data.p.join(data).train(B.number)
    assert [b.got for b in pipeline.gen_batch(6, prefetch=2)] == [("net", 0.0, 0), ("net", 6.0, 1)]


@each_prefetch
def test_an_async_action_gets_it(prefetch, right):
    class Async(Rows):
        @action
        async def add_soon(self, other):
            self.x = self.x + other.x
            return self

    data = rows(cls=Async)
    assert xs(data.p.join(right).add_soon(), 6, prefetch=prefetch)[1][0] == 112.0


@each_prefetch
def test_a_joined_pipeline_may_have_async_actions(prefetch, left):
    class Async(Rows):
        @action
        async def double(self):
            self.x = self.x * 2
            return self

    inner = rows(cls=Async).p.double()
    assert xs(left.p.join(inner).add(), 12, prefetch=prefetch)[0][-1] == 33.0


def test_an_action_per_item_gets_it(right):
    class Items(Rows):
        @action
        @inbatch_parallel(init="indices", post="gather", target="for")
        def item(self, index, other):
            return other[index].x

        def gather(self, results, *args, **kwargs):
            self.x = np.array(results)
            return self

    assert xs(rows(cls=Items).p.join(right).item(), 12)[0][3] == 103.0


def test_an_action_that_is_called_as_a_builtin_step_gets_it(right):
    class Own(Rows):
        @action
        def filter(self, other, factor):
            self.x = other.x * factor
            return self

    assert xs(rows(cls=Own).p.join(right).filter(2), 12)[0][0] == 200.0


def test_an_action_called_join_takes_the_place_of_the_step():
    class Own(Rows):
        @action
        def join(self, factor):
            self.x = self.x * factor
            return self

    assert xs(rows(cls=Own).p.join(3), 12)[0][2] == 6.0
    assert xs(rows(cls=Own) >> Pipeline().join(3), 12)[0][2] == 6.0


@each_prefetch
def test_the_joined_batch_may_be_what_goes_on(left, right, prefetch):
    assert xs(left.p.join(right).give_other(), 12, prefetch=prefetch)[0][0] == 100.0


@each_prefetch
def test_a_joined_batch_that_goes_on_is_a_batch_of_this_pipeline(left, right, prefetch):
    pipeline = left.p.init_variable("k", 7).join(right).give_other().put(V("k"))
    assert xs(pipeline, 12, prefetch=prefetch) == [[7.0] * 12]


# ---- chaining


@pytest.mark.parametrize(
    "build",
    [
        lambda p, o: p.join(o).add(),
        lambda p, o: p + Pipeline().join(o).add(),
        lambda p, o: p.join(o) + Pipeline().add(),
        lambda p, o: p + (Pipeline().join(o) + Pipeline().add()),
        lambda p, o: p.dataset >> Pipeline().join(o).add(),
        lambda p, o: Pipeline().join(o).add() << p.dataset,
        lambda p, o: p + Pipeline().join(o).add() @ 1.0,
        lambda p, o: p + Pipeline().join(o).add() * 1,
    ],
)
def test_every_way_to_chain_it_is_the_same(left, right, build):
    assert xs(build(left.p, right), 6)[1][0] == 112.0


def test_a_join_of_pieces_is_as_one_of_the_whole(left, right):
    piece = Pipeline().join(right).add()
    assert xs(left >> piece * 2, 12)[0][0] == 200.0
    assert xs(left >> piece * 2) == xs(left >> piece + piece)
    assert piece * 2 == piece + piece


@each_prefetch
def test_a_join_inside_a_chance_has_one_answer(left, right, prefetch):
    pipeline = left >> (Pipeline().join(right.p.noise()).add() @ 0.5).noise()
    expected = xs(pipeline, 1, seed=4, executor="serial")
    assert xs(pipeline, 1, seed=4, prefetch=prefetch) == expected
    taken = sum(x[0] > 50 for x in expected)
    assert 0 < taken < 12


def test_a_chance_cannot_take_the_joined_batch(left, right):
    with pytest.raises(TypeError, match=r"\(add\(\)\) @ 0\.5, chained at .*join inside of it"):
        left.p.join(right) + Pipeline().add() @ 0.5


def test_a_join_at_the_end_is_refused_before_the_run(left, right):
    with pytest.raises(TypeError, match=rf"join\(.*chained at {__file__}.*no action that gets"):
        left.p.join(right).gen_batch(4)


def test_a_join_at_the_end_of_a_chance_is_refused(left, right):
    with pytest.raises(TypeError, match="no action that gets the joined batches"):
        (left.p.join(right) @ 0.5).gen_batch(4)


def test_a_join_at_the_end_of_an_inner_pipeline_is_refused(left, right):
    with pytest.raises(TypeError, match="no action that gets the joined batches"):
        left.p.merge(right.p.join(left))


@pytest.mark.parametrize(
    "step",
    [
        lambda p, o: p.rebatch(3),
        lambda p, o: p.merge(o),
        lambda p, o: p.concat(o),
        lambda p, o: p.map(np.sqrt),
        lambda p, o: p.filter(len),
        lambda p, o: p.update(B.x, 1),
        lambda p, o: p.discard_batch(),
    ],
    ids=["rebatch", "merge", "concat", "map", "filter", "update", "discard_batch"],
)
def test_a_step_that_cannot_take_it_is_refused_when_chained(left, right, step):
    with pytest.raises(TypeError, match="comes behind a join and cannot take the joined batches"):
        step(left.p.join(right), right)


def test_the_signature_is_checked_with_the_joined_batch(left, right):
    with pytest.raises(TypeError, match=r"put\(\): too many positional arguments"):
        left.p.join(right).put(3)
    with pytest.raises(TypeError, match=r"add_two\(\): missing a required argument: 'two'"):
        left.p.join(right).add_two()


def test_the_signature_is_checked_in_pieces_too(left, right):
    with pytest.raises(TypeError, match=r"put\(\): too many positional arguments"):
        left >> Pipeline().join(right).put(3)


@pytest.mark.parametrize("wrong", [None, 5, "dataset", Rows, [1]], ids=repr)
def test_what_is_no_dataset_is_refused_when_chained(left, wrong):
    with pytest.raises(TypeError, match=r"join\(\) takes datasets, or pipelines over one, got"):
        left.p.join(wrong)


def test_no_argument_is_refused(left):
    with pytest.raises(TypeError, match="got none"):
        left.p.join()


def test_an_inner_pipeline_without_a_dataset_is_refused(left):
    with pytest.raises(TypeError, match="no dataset"):
        left.p.join(Pipeline().noise())


@pytest.mark.parametrize("step", ["rebatch", "merge", "concat"])
def test_an_inner_pipeline_that_regroups_is_refused(left, right, step):
    inner = getattr(right.p, step)(3 if step == "rebatch" else left)
    with pytest.raises(ValueError, match=rf"regroups its batches \({step}\).*use merge"):
        left.p.join(inner)


def test_the_refusal_of_an_argument_says_where_it_was_chained(left, right):
    piece = Pipeline().join(right.p.rebatch(3)).add()
    with pytest.raises(ValueError, match="regroups") as caught:
        left >> piece
    assert __file__ in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


def test_a_piece_over_two_datasets_joins_the_same_other(right):
    piece = Pipeline().join(right.p.put(1.0)).add()
    one, two = rows(), rows(first=10)
    results = [xs(data >> piece, 12)[0][0] for data in (one, two, one)]
    assert results == [1.0, 11.0, 1.0]


def test_an_inner_piece_is_put_over_several_datasets(left):
    inner = Pipeline().put(2.0)
    joined = left.p.join(rows() >> inner, rows(first=50) >> inner).add_two()
    assert xs(joined, 2)[0] == [2002.0, 2003.0]


# ---- ids


def test_ids_that_the_other_does_not_have_are_named(left):
    with pytest.raises(KeyError, match=r"\b(8|9|10|11)\b") as caught:
        left.p.join(rows(8)).add().run(4)
    notes = "\n".join(caught.value.__notes__)
    assert "in the action 'add', chained at" in notes
    assert "batch 2, epoch 0" in notes


@each_prefetch
def test_a_join_behind_rebatch_is_by_the_ids_of_the_new_batches(left, right, prefetch):
    pipeline = left.p.rebatch(5).join(right).add()
    expected = [[100.0 + 2 * i for i in chunk] for chunk in (range(5), range(5, 10), range(10, 12))]
    assert xs(pipeline, 4, prefetch=prefetch) == expected


def test_a_join_behind_a_merge_of_common_ids_is_refused(left, right):
    with pytest.raises(ValueError, match="join before the merge"):
        left.p.merge(right).join(right).add().run(4)


def test_a_join_behind_a_merge_without_common_ids_works(left):
    other = Dataset.from_arrays(Rows, np.arange(20, 32), x=np.zeros(12), y=np.zeros(12))
    both = Dataset.from_arrays(Rows, np.arange(32), x=np.ones(32), y=np.ones(32))
    assert xs(left.p.merge(other).join(both).add(), 2)[0] == [1.0, 2.0, 1.0, 1.0]


@each_prefetch
def test_a_filtered_batch_is_joined_by_the_ids_that_are_left(left, right, prefetch):
    pipeline = left.p.filter(B.y % 3 == 0).join(right).add()
    assert xs(pipeline, 6, prefetch=prefetch) == [[100.0, 106.0], [112.0, 118.0]]


# ---- randomness


@each_prefetch
def test_random_steps_inside_have_one_answer(left, right, prefetch):
    pipeline = left.p.noise().join(right.p.noise()).add().noise()
    options = {"seed": 3, "n_epochs": 2, "shuffle": True}
    expected = xs(pipeline, 5, executor="serial", **options)
    assert xs(pipeline, 5, prefetch=prefetch, **options) == expected


def test_the_randomness_of_the_joined_batch_is_its_own(left):
    seen = left.p.noise().join(left.p.noise()).call(lambda o: o.x, save_to=B.other)
    for batch in seen.gen_batch(4, seed=1):
        assert not (batch.x == batch.other).any()


def test_a_join_does_not_change_what_the_outer_batches_draw(left, right):
    alone = xs(left.p.noise(), seed=2)
    joined = xs(left.p.noise().join(right.p.noise()).add(0), seed=2)
    assert joined == alone


def test_two_joined_pipelines_draw_differently(left):
    inner = left.p.put(0).noise()
    pipeline = left.p.join(inner, inner).call(lambda a, b: a.x - b.x, save_to=B.x)
    assert all(value != 0 for x in xs(pipeline, seed=1) for value in x)


def test_other_seeds_give_other_numbers(left, right):
    pipeline = left.p.join(right.p.noise()).add()
    assert xs(pipeline, seed=1) != xs(pipeline, seed=2)


# ---- ordered pipelines inside


@each_prefetch
def test_an_ordered_inner_pipeline_orders_the_outer_step(left, right, prefetch):
    inner = right.p.init_variable("seen", init=list).update(V("seen", "a"), B.number)
    pipeline = left.p.noise().join(inner).add().noise()
    assert orders_a_step(pipeline)
    pipeline.run(2, n_epochs=2, prefetch=prefetch)
    assert inner.v("seen") == list(range(12))


def test_repr_shows_the_join_inside_the_section(left, right):
    inner = right.p.init_variable("n", 0).count()
    lines = [line.strip() for line in repr(left.p.noise().join(inner).add()).splitlines()[1:]]
    assert lines[0].startswith("0 noise()")
    assert lines[1].startswith("-- ordered section")
    assert lines[2].startswith("join(")
    assert lines[3].startswith("1 add()")


def test_an_inner_pipeline_that_is_not_ordered_orders_nothing(left, right):
    inner = right.p.init_variable("k", 5).put(V("k")).noise()
    assert not orders_a_step(left.p.join(inner).add())


@each_prefetch
def test_nothing_ordered_inside_runs_ahead_of_the_batch_in_hand(left, right, prefetch):
    inner = right.p.init_variable("n", 0).count()
    pipeline = left.p.join(inner).add()
    for batch in pipeline.gen_batch(2, n_epochs=2, prefetch=prefetch):
        assert inner.v("n") == batch.number + 1


@each_prefetch
def test_an_ordered_inner_pipeline_two_levels_down_orders_too(left, right, prefetch):
    inner = right.p.init_variable("n", 0).count()
    pipeline = left.p.join(rows().p.join(inner).add()).add()
    assert orders_a_step(pipeline)
    for batch in pipeline.gen_batch(3, prefetch=prefetch):
        assert inner.v("n") == batch.number + 1


@each_prefetch
def test_ordered_inner_pipelines_order_a_load_of_several(left, right, prefetch):
    inner = right.p.init_variable("seen", init=list).update(V("seen", "a"), B.number)
    pipeline = left.p.noise().join(inner, rows(first=50)).load(components=("x", "y"))
    assert orders_a_step(pipeline)
    pipeline.run(2, n_epochs=2, prefetch=prefetch)
    assert inner.v("seen") == list(range(12))


def test_a_chance_with_an_ordered_join_in_it_is_ordered(left, right):
    inner = right.p.init_variable("n", 0).count()
    assert orders_a_step(left >> Pipeline().join(inner).add() @ 0.5)


@each_prefetch
def test_variables_of_an_inner_pipeline_that_start_anew_do_so_in_each_run(left, right, prefetch):
    inner = right.p.init_variable("n", init_on_each_run=int).count()
    pipeline = left.p.join(inner).add()
    for _ in range(2):
        pipeline.run(4, prefetch=prefetch)
        assert inner.v("n") == 3


def test_variables_of_an_inner_pipeline_stay_between_runs(left, right):
    inner = right.p.init_variable("n", 0).count()
    pipeline = left.p.join(inner).add()
    pipeline.run(4)
    pipeline.run(4)
    assert inner.v("n") == 6


def test_one_inner_pipeline_joined_twice_runs_twice_per_batch(left, right):
    inner = right.p.init_variable("n", 0).count()
    left.p.join(inner).add().join(inner).add().run(4, prefetch=2)
    assert inner.v("n") == 6


def test_a_parallel_action_cannot_write_variables_through_the_joined_batch(right):
    class Sneaky(Rows):
        @action
        def write(self, other):
            other.pipeline.set_variable("n", 1)
            return self

    inner = right.p.init_variable("n", 0)
    with pytest.raises(ValueError, match="cannot set the variable 'n'"):
        rows(cls=Sneaky).p.join(inner).write().run(4, prefetch=2)


@contextmanager
def sections_that_wait_after_the_first(*pipelines):
    """Between the first and the second lock that a thread takes, another thread comes in."""
    meet, mine = threading.Barrier(2), threading.local()

    class Section:
        def __init__(self, lock):
            self.lock = lock

        def __enter__(self):
            self.lock.acquire()
            if not getattr(mine, "has_met", False):
                mine.has_met = True
                with suppress(threading.BrokenBarrierError):
                    meet.wait(0.5)

        def __exit__(self, *raised):
            self.lock.release()

    locks = [pipeline._state.section for pipeline in pipelines]
    for pipeline, lock in zip(pipelines, locks, strict=True):
        pipeline._state.section = Section(lock)
    yield
    for pipeline, lock in zip(pipelines, locks, strict=True):
        pipeline._state.section = lock


def test_pipelines_that_join_the_same_two_in_another_order_do_not_wait_for_each_other(left):
    one = rows().p.init_variable("n", 0).count()
    two = rows().p.init_variable("n", 0).count()
    outer = [left.p.join(one, two).add_two(), left.p.join(two, one).add_two()]
    with sections_that_wait_after_the_first(one, two):
        threads = [threading.Thread(target=p.run, args=(6,), daemon=True) for p in outer]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)
    assert (one.v("n"), two.v("n")) == (4, 4)


# ---- skips, stops, errors


SIGNAL_PLACES = {
    "before the join": lambda left, right, what: left.p.signal(what, 5).join(right).add(),
    "in the joined pipeline": lambda left, right, what: left.p.join(right.p.signal(what, 5)).add(),
    "behind the join": lambda left, right, what: left.p.join(right).add().signal(what, 5),
    "in the ordered section": lambda left, right, what: left.p.join(
        right.p.init_variable("n", 0).count().signal(what, 5)
    ).add(),
    "two levels down": lambda left, right, what: left.p.join(
        rows().p.join(right.p.signal(what, 5)).add()
    ).add(),
}


@each_prefetch
@pytest.mark.parametrize("place", SIGNAL_PLACES)
def test_a_skip_leaves_out_the_joint_batch(left, right, prefetch, place):
    pipeline = SIGNAL_PLACES[place](left, right, SkipBatch)
    assert [batch.number for batch in pipeline.gen_batch(2, prefetch=prefetch)] == [0, 1, 3, 4, 5]


@each_prefetch
@pytest.mark.parametrize("place", SIGNAL_PLACES)
def test_a_stop_ends_the_run_before_the_joint_batch(left, right, prefetch, place):
    pipeline = SIGNAL_PLACES[place](left, right, StopPipeline)
    with nothing_left():
        assert [batch.number for batch in pipeline.gen_batch(2, prefetch=prefetch)] == [0, 1]


@each_prefetch
@pytest.mark.parametrize("place", SIGNAL_PLACES)
def test_an_error_comes_after_the_batches_before_it(left, right, prefetch, place):
    pipeline = SIGNAL_PLACES[place](left, right, OSError("no disk"))
    numbers = []
    with nothing_left(), pytest.raises(OSError, match="no disk"):
        for batch in pipeline.gen_batch(2, prefetch=prefetch):
            numbers.append(batch.number)
    assert numbers == [0, 1]


@each_prefetch
def test_the_error_of_a_joined_pipeline_names_both_actions(left, right, prefetch):
    with pytest.raises(ValueError, match="no 5") as caught:
        left.p.noise().join(right.p.fail_at(5)).add().run(2, prefetch=prefetch, seed=1)
    notes = "\n".join(caught.value.__notes__)
    assert f"in the action 'fail_at', chained at {__file__}" in notes
    assert f"in the action 'add', chained at {__file__}" in notes
    assert "batch 2, epoch 0, 2 items with the ids [4, 5]" in notes


@each_prefetch
@pytest.mark.parametrize("shuffle", [False, True, 3])
def test_the_error_of_a_joined_pipeline_is_made_again_by_its_note(left, right, prefetch, shuffle):
    pipeline = left.p.noise().join(right.p.noise().fail_at(5)).add()
    with pytest.raises(ValueError, match="no 5") as caught:
        pipeline.run(2, prefetch=prefetch, shuffle=shuffle, n_epochs=2)
    call = caught.value.__notes__[-1].removeprefix("make this batch again: ")
    with pytest.raises(ValueError, match="no 5") as again:
        eval(call, {"pipeline": pipeline})
    assert str(again.value) == str(caught.value)


# ---- ends


def leave_with_an_exception(run):
    with pytest.raises(KeyboardInterrupt), run:
        for _ in run:
            raise KeyboardInterrupt


WAYS_OUT = {
    "end": list,
    "close": lambda run: (next(run), run.close(), run.close()),
    "exception": leave_with_an_exception,
    "garbage": next,
}


@each_prefetch
@pytest.mark.parametrize("way", WAYS_OUT)
def test_every_way_out_leaves_nothing(left, right, prefetch, way):
    inner = right.p.noise().init_variable("n", 0).count()
    pipeline = left.p.join(right.p.noise()).add().join(inner).add()
    with nothing_left():
        for _ in range(3):
            WAYS_OUT[way](pipeline.gen_batch(2, prefetch=prefetch, n_epochs=2))


def test_after_a_run_the_sections_of_joined_pipelines_are_free(left, right):
    inner = right.p.init_variable("n", 0).count().fail_at(5)
    pipeline = left.p.join(inner).add()
    for _ in range(2):
        with pytest.raises(ValueError, match="no 5"):
            pipeline.run(2, prefetch=2)
    got = []
    thread = threading.Thread(target=lambda: got.append(inner._state.section.acquire(timeout=5)))
    thread.start()
    thread.join(10)
    assert got == [True]


# ---- other ways to run


def test_two_runs_at_once_do_not_disturb_each_other(left, right):
    pipeline = left.p.noise().join(right.p.noise()).add()
    expected = xs(pipeline, 3, seed=1, shuffle=True)
    runs = [pipeline.gen_batch(3, seed=1, shuffle=True, prefetch=n) for n in (2, 5)]
    pairs = [(one.x.tolist(), two.x.tolist()) for one, two in zip(*runs, strict=True)]
    assert pairs == [(x, x) for x in expected]


def test_next_batch_goes_on_with_joined_batches(left, right):
    pipeline = left.p.join(right).add()
    assert [pipeline.next_batch(6).x[0] for _ in range(3)] == [100.0, 112.0, 100.0]
    pipeline.reset("iter")


def test_replay_makes_the_joint_batch_again(left, right):
    pipeline = left.p.noise().join(right.p.noise()).add()
    run = pipeline.gen_batch(5, shuffle=True, n_epochs=2, prefetch=2)
    for batch in run:
        again = pipeline.replay(batch.number, 5, shuffle=True, n_epochs=2, seed=run.seed)
        assert again.x.tolist() == batch.x.tolist()


def test_execute_for_joins(left, right):
    done = left.p.join(right.p.put(5.0)).add().execute_for(left.create_batch([3, 1]))
    assert done.x.tolist() == [8.0, 6.0]


def test_execute_for_with_a_seed_seeds_the_joined_pipeline(left, right):
    pipeline = left.p.join(right.p.noise()).add()
    one, again, other = (
        pipeline.execute_for(left.create_batch([3, 1]), seed=seed).x.tolist() for seed in (1, 1, 2)
    )
    assert one == again != other


def test_execute_for_without_a_seed_seeds_the_joined_pipeline_from_nothing_fixed(left, right):
    pipeline = left.p.join(right.p.noise()).add()
    one, other = (pipeline.execute_for(left.create_batch([3, 1])).x.tolist() for seed in range(2))
    assert one != other


def test_the_length_of_a_run_does_not_change(left, right):
    assert len(left.p.join(right.p.filter(B.y > 5)).add().gen_batch(5, n_epochs=2)) == 6


def test_a_pipeline_with_a_join_is_a_value(left, right):
    one, two = left.p.join(right.p.noise()).add(), left.p.join(right.p.noise()).add()
    assert one == copy.deepcopy(one) == copy.copy(one) == two
    assert one != left.p.join(right.p.put(1)).add()


def test_a_pickled_pipeline_gives_the_same_batches(left, right):
    pipeline = left.p.noise().join(right.p.noise()).add(2)
    assert xs(pickle.loads(pickle.dumps(pipeline)), seed=1) == xs(pipeline, seed=1)


@each_prefetch
def test_joins_nested_three_deep_have_one_answer(left, prefetch):
    pipeline = left.p.noise()
    for depth in range(1, 4):
        pipeline = rows(first=10**depth).p.noise().join(pipeline).add()
    options = {"seed": 5, "shuffle": True}
    expected = xs(pipeline, 5, executor="serial", **options)
    assert xs(pipeline, 5, prefetch=prefetch, **options) == expected


def test_deep_nesting_is_not_exponential(left, monkeypatch):
    binds = []
    whole = Pipeline._bound_plan
    pipeline = left.p
    for _ in range(10):
        pipeline = left.p.join(pipeline).add()
    monkeypatch.setattr(Pipeline, "_bound_plan", lambda self: binds.append(1) or whole(self))
    pipeline.gen_batch(4)
    assert len(binds) < 500
