"""Faults of an older batchflow, C: several sources in one chain, and variables under prefetch."""

import threading

import numpy as np
import pytest

from batchflow import ArrayBatch, B, C, Dataset, F, I, Pipeline, V, action

from .conftest import each_prefetch, in_threads


class Rows(ArrayBatch):
    components = "first", "second"

    @action
    def post(self, *batches):
        self.first = self.first * 0 + len(batches)
        return self

    @action
    def put(self, value):
        self.first = self.first * 0 + value
        return self

    @action
    def leave(self):
        return self


def rows(ids, cls=Rows):
    return Dataset.from_arrays(cls, ids, first=np.array(ids) * 10, second=np.array(ids))


@pytest.fixture
def one():
    return rows([0, 1, 2, 3, 4, 5])


@pytest.fixture
def other():
    return rows([5, 4, 3, 2, 1, 0])


def firsts(pipeline, batch_size=2, **options):
    return [batch.first.tolist() for batch in pipeline.gen_batch(batch_size, **options)]


def ids(pipeline, batch_size=2, **options):
    return [batch.indices.tolist() for batch in pipeline.gen_batch(batch_size, **options)]


# ---- B6: updates of a variable are lost


@each_prefetch
def test_b6_an_update_of_a_variable_by_its_own_value_is_never_lost(one, prefetch):
    def slow_inc(value):
        threading.Event().wait(1e-4)
        return value + 1

    pipeline = one.p.init_variable("n", 0).leave().update(V("n"), F(slow_inc)(V("n")))
    assert pipeline.run(1, n_epochs=11, prefetch=prefetch).v("n") == 66


@each_prefetch
def test_b6_updates_in_a_chance_are_never_lost(one, prefetch):
    piece = Pipeline().update(V("n"), V("n") + 1)
    pipeline = one.p.init_variable("n", 0).leave() + piece @ 0.5
    expected = pipeline.run(1, n_epochs=11, seed=1).v("n")
    assert 0 < expected < 66
    assert pipeline.reset("vars").run(1, n_epochs=11, seed=1, prefetch=prefetch).v("n") == expected


@each_prefetch
def test_b6_updates_of_an_inner_pipeline_are_never_lost(one, other, prefetch):
    inner = other.p.init_variable("n", 0).leave().update(V("n"), V("n") + 1)
    one.p.join(inner).post().merge(inner).run(1, n_epochs=3, prefetch=prefetch)
    assert inner.v("n") == 36


def test_b6_updates_by_two_runs_at_once_are_never_lost(one):
    pipeline = one.p.init_variable("n", 0).leave().update(V("n"), V("n") + 1)
    in_threads(*[lambda: pipeline.run(1, n_epochs=10, prefetch=2)] * 3)
    assert pipeline.v("n") == 180


# ---- C7: a join gives more batches to each step


@each_prefetch
def test_c7_the_step_behind_a_join_gets_one_batch_each_time(one, other, prefetch):
    assert firsts(one.p.join(other.p).post(), prefetch=prefetch) == [[1, 1]] * 3


@each_prefetch
def test_c7_the_step_behind_a_join_gets_one_batch_in_every_run(one, other, prefetch):
    pipeline = one.p.join(other.p.run_later(3)).post()
    assert [firsts(pipeline, prefetch=prefetch) for _ in range(3)] == [[[1, 1]] * 3] * 3


@each_prefetch
def test_c7_a_pipeline_that_has_run_is_joined_as_one_that_has_not(one, other, prefetch):
    inner = other.p.leave()
    inner.run(4)
    inner.next_batch(4)
    assert firsts(one.p.join(inner).post(), prefetch=prefetch) == [[1, 1]] * 3
    inner.reset("iter")


def test_c7_the_joined_pipeline_stays_as_it_was(one, other):
    inner = other.p.leave()
    before = repr(inner)
    one.p.join(inner).post().run(2)
    assert repr(inner) == before
    assert inner == other.p.leave()


# ---- C8: merge never works


@each_prefetch
def test_c8_a_merge_has_the_data_of_both(one, prefetch):
    two = rows([10, 11, 12, 13, 14, 15])
    pipeline = one.p.merge(two.p.run_later(2, n_epochs=1))
    assert firsts(pipeline, prefetch=prefetch) == [
        [0, 10, 100, 110],
        [20, 30, 120, 130],
        [40, 50, 140, 150],
    ]


@each_prefetch
def test_c8_a_merge_has_the_ids_of_both(one, prefetch):
    two = rows([10, 11, 12, 13, 14, 15])
    pipeline = one.p.merge(two.p.run_later(1, n_epochs=1))
    assert ids(pipeline, prefetch=prefetch) == [[0, 1, 10], [2, 3, 11], [4, 5, 12]]


# ---- C9: rebatch and shuffle


@each_prefetch
@pytest.mark.parametrize("shuffle", [True, 5, 0, np.int64(5), lambda p: p[::-1]])
def test_c9_a_rebatch_shuffles(one, prefetch, shuffle):
    got = ids(one.p.rebatch(3), shuffle=shuffle, seed=1, prefetch=prefetch)
    assert got == ids(one.p, 3, shuffle=shuffle, seed=1)
    assert got != [[0, 1, 2], [3, 4, 5]]


def test_c9_a_rebatch_shuffles_with_a_generator(one):
    got = ids(one.p.rebatch(3), shuffle=np.random.default_rng(3))
    assert got == ids(one.p, 3, shuffle=np.random.default_rng(3))


# ---- C10: what is lost behind a rebatch


@each_prefetch
def test_c10_the_config_is_there_behind_a_rebatch(one, prefetch):
    pipeline = one.pipeline({"n": 3}).rebatch(3).put(C("n"))
    assert firsts(pipeline, prefetch=prefetch) == [[3, 3, 3]] * 2


def test_c10_the_config_is_there_behind_a_rebatch_of_a_piece(one):
    assert firsts(one >> Pipeline(config={"n": 3}).rebatch(3).put(C("n"))) == [[3, 3, 3]] * 2


@each_prefetch
def test_c10_a_variable_of_before_the_rebatch_is_there_behind_it(one, prefetch):
    pipeline = one.p.init_variable("n", 0).update(V("n"), V("n") + 1).rebatch(3).put(V("n"))
    assert pipeline.has_variable("n")
    assert firsts(pipeline, prefetch=prefetch) == [[2] * 3, [3] * 3]
    assert pipeline.v("n") == 3


def test_c10_a_variable_that_was_set_before_the_run_is_there_behind_a_rebatch(one):
    pipeline = one.p.init_variable("n", 0).rebatch(3).put(V("n"))
    pipeline.set_variable("n", 7)
    assert firsts(pipeline) == [[7] * 3] * 2


def test_c10_the_dataset_is_there_behind_a_rebatch(one):
    assert next(one.p.rebatch(3).gen_batch(2)).dataset is one


# ---- C11: a sum changes its parts


@pytest.mark.parametrize(
    "make",
    [
        lambda other: Pipeline().rebatch(3).leave(),
        lambda other: Pipeline().merge(other).leave(),
        lambda other: Pipeline().concat(other.p.leave()).leave(),
        lambda other: Pipeline().join(other).post(),
    ],
    ids=["rebatch", "merge", "concat", "join"],
)
def test_c11_a_piece_that_is_added_twice_stays_as_it_was(one, other, make):
    first, piece = Pipeline().leave(), make(other)
    before = repr(piece), len(piece._plan.steps)
    runs = [ids(one >> (first + piece)) for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert (repr(piece), len(piece._plan.steps)) == before
    assert piece == make(other)


def test_c11_a_sum_over_a_dataset_leaves_the_piece_without_one(one):
    piece = Pipeline().rebatch(3)
    for _ in range(2):
        assert len((one.p.leave() + piece)._plan.steps) == 2
    assert piece.dataset is None


# ---- C16: the progress of an inner pipeline


@each_prefetch
def test_c16_an_inner_pipeline_counts_its_own_batches(one, prefetch):
    inner = rows([10, 11, 12, 13]).p.put(I("c"))
    pipeline = one.p.merge(inner, fn=lambda two: two[1])
    assert firsts(pipeline, 1, prefetch=prefetch) == [[1], [2], [3], [4]]


@each_prefetch
def test_c16_a_pipeline_before_a_rebatch_counts_its_own_batches(one, prefetch):
    pipeline = one.p.put(I("c")).rebatch(4)
    assert firsts(pipeline, prefetch=prefetch) == [[1, 1, 2, 2], [3, 3]]


@each_prefetch
def test_c16_a_joined_pipeline_counts_the_batches_that_it_is_joined_to(one, other, prefetch):
    inner = other.p.put(I("c"))
    pipeline = one.p.join(inner).call(lambda batch: batch.first, save_to=B.first)
    assert firsts(pipeline, 1, prefetch=prefetch) == [[1], [2], [3], [4], [5], [6]]


# ---- C21: pipelines over different datasets


def test_c21_a_regrouping_piece_over_another_dataset_cannot_be_added(one, other):
    with pytest.raises(ValueError, match="different datasets"):
        one.p.leave() + other.p.rebatch(3)


def test_c21_a_pipeline_over_another_dataset_is_merged_and_not_added(one):
    two = rows([10, 11, 12, 13, 14, 15])
    assert ids(one.p.merge(two.p.leave()) + Pipeline().leave())[0] == [0, 1, 10, 11]


# ---- D11: what merge and rebatch do to ids and components


def test_d11_a_merge_keeps_ids():
    four, two = rows([4]).create_batch([4]), rows([2]).create_batch([2])
    assert Rows.merge([four, two]).indices.tolist() == [4, 2]


def test_d11_a_merge_keeps_every_component():
    batches = [next(rows(numbers).gen_batch(1)) for numbers in ([4], [2])]
    merged = Rows.merge(batches)
    assert (merged.first.tolist(), merged.second.tolist()) == ([40, 20], [4, 2])


def test_d11_a_component_that_is_none_stays_none():
    merged = Rows.merge([Rows([4]), Rows([2])])
    assert (merged.first, merged.second) == (None, None)


@each_prefetch
def test_d11_batches_without_components_are_rebatched(prefetch):
    data = Dataset.from_arrays(ArrayBatch, [4, 2, 7], data=np.array([40, 20, 70]))
    batches = list(data.p.rebatch(2).gen_batch(1, prefetch=prefetch))
    assert [b.data.tolist() for b in batches] == [[40, 20], [70]]
    assert [b.indices.tolist() for b in batches] == [[4, 2], [7]]
