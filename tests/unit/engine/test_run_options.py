"""The options of a run: every wrong value and every typo is refused before anything starts."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArgumentTypeError, ArgumentValueError, Batch, Dataset, action


class Plain(Batch):
    @action
    def touch(self):
        return self


dataset = Dataset(7, Plain)
pipeline = dataset.p.touch()

STARTS = {
    "run": pipeline.run,
    "gen_batch": pipeline.gen_batch,
    "next_batch": lambda *args, **kwargs: dataset.p.touch().next_batch(*args, **kwargs),
    "run_later": pipeline.run_later,
    "lazy": lambda *args, **kwargs: pipeline.run(*args, lazy=True, **kwargs),
    "dataset": dataset.gen_batch,
}


def answers(*args, only=tuple(STARTS), **kwargs):
    """Return what each way to start a run raises, by its name."""
    found = {}
    for name in only:
        try:
            STARTS[name](*args, **kwargs)
        except Exception as error:
            found[name] = error
        else:
            found[name] = None
    return found


def assert_all_refuse(errors, kind, message):
    other = {
        name: error
        for name, error in errors.items()
        if not isinstance(error, kind) or not re.search(message, str(error))
    }
    assert errors
    assert other == {}


# ---- wrong values

WRONG_VALUES = [
    ({"batch_size": 0}, ArgumentValueError, "batch_size must be at least 1, got 0"),
    ({"batch_size": -3}, ArgumentValueError, "batch_size must be at least 1, got -3"),
    ({"batch_size": 2.0}, ArgumentTypeError, r"batch_size must be a whole number, got float 2\.0"),
    ({"batch_size": "2"}, ArgumentTypeError, "batch_size must be a whole number, got str '2'"),
    ({"batch_size": True}, ArgumentTypeError, "batch_size must be a whole number, got True"),
    ({"batch_size": [2]}, ArgumentTypeError, "batch_size must be a whole number, got list"),
    ({"batch_size": None}, ArgumentTypeError, r"batch_size is missing: run\(64\)"),
    ({"n_epochs": 0}, ArgumentValueError, "n_epochs must be at least 1, got 0"),
    ({"n_epochs": -1}, ArgumentValueError, "n_epochs must be at least 1"),
    ({"n_epochs": 1.5}, ArgumentTypeError, "n_epochs must be a whole number"),
    ({"n_epochs": float("inf")}, ArgumentTypeError, "n_epochs must be a whole number"),
    ({"n_epochs": True}, ArgumentTypeError, "n_epochs must be a whole number"),
    ({"first_epoch": -1}, ArgumentValueError, "first_epoch must be at least 0, got -1"),
    ({"first_epoch": 1.5}, ArgumentTypeError, "first_epoch must be a whole number"),
    ({"first_epoch": True}, ArgumentTypeError, "first_epoch must be a whole number"),
    ({"n_iters": 0}, ArgumentValueError, "n_iters must be at least 1"),
    ({"n_iters": "2"}, ArgumentTypeError, "n_iters must be a whole number"),
    ({"n_iters": False}, ArgumentTypeError, "n_iters must be a whole number"),
    ({"drop_last": 1}, ArgumentTypeError, "drop_last must be True or False, got 1"),
    ({"drop_last": "no"}, ArgumentTypeError, "drop_last must be True or False, got 'no'"),
    ({"drop_last": None}, ArgumentTypeError, "drop_last must be True or False"),
    ({"bar": 1}, ArgumentTypeError, "bar must be True or False"),
    ({"bar": "tqdm"}, ArgumentTypeError, "bar must be True or False"),
    ({"prefetch": -1}, ArgumentValueError, "prefetch must be at least 0, got -1"),
    ({"prefetch": 1.5}, ArgumentTypeError, "prefetch must be a whole number"),
    ({"prefetch": True}, ArgumentTypeError, "prefetch must be a whole number"),
    ({"prefetch": "auto"}, ArgumentTypeError, "prefetch must be a whole number"),
    ({"n_workers": 0}, ArgumentValueError, "n_workers must be at least 1"),
    ({"n_workers": 2.5}, ArgumentTypeError, "n_workers must be a whole number"),
    ({"executor": "thread"}, ArgumentValueError, "'threads', 'processes'.*Did you mean 'threads'"),
    ({"executor": "sequential"}, ArgumentValueError, "'threads', .* got 'sequential'"),
    ({"executor": 3}, ArgumentValueError, "'threads', .* got 3"),
    ({"executor": None}, ArgumentValueError, "'threads', .* got None"),
    ({"target": "thread"}, ArgumentValueError, "Did you mean 'threads'"),
    ({"seed": -1}, ArgumentValueError, "seed: a seed must not be negative, got -1"),
    ({"seed": 1.5}, ArgumentTypeError, r"seed.*float 1\.5"),
    ({"seed": "x"}, ArgumentTypeError, "seed.*str 'x'"),
    ({"shuffle": -1}, ArgumentValueError, "shuffle: a seed must not be negative"),
    ({"shuffle": 1.5}, ArgumentTypeError, "shuffle: expected True, False, a seed"),
    ({"shuffle": "yes"}, ArgumentTypeError, "shuffle: expected True, False, a seed.*'yes'"),
    ({"shuffle": [1, 0]}, ArgumentTypeError, "shuffle: expected True, False, a seed"),
]


@pytest.mark.parametrize(("options", "kind", "message"), WRONG_VALUES, ids=lambda v: repr(v)[:40])
def test_a_wrong_value_is_refused_at_the_call(options, kind, message):
    later = {"run_later", "lazy"} if options == {"batch_size": None} else set()  # it may come then
    asked = [name for name in STARTS if name not in later]
    errors = answers(only=asked, **{"batch_size": 2, **options})
    assert_all_refuse(errors, kind, message)


@pytest.mark.parametrize("name", ["run", "gen_batch", "next_batch", "dataset"])
def test_a_batch_size_beyond_the_dataset_is_refused_where_short_batches_are_left_out(name):
    with pytest.raises(ArgumentValueError, match=r"batch_size=8.*7 items.*use .* at most 7"):
        STARTS[name](8, drop_last=True)


@pytest.mark.parametrize("batch_size", [8, 10**12])
def test_a_batch_size_beyond_the_dataset_gives_one_short_batch(batch_size):
    assert [len(batch) for batch in pipeline.gen_batch(batch_size, n_epochs=2)] == [7, 7]


# ---- typos


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("shufle", "shuffle"),
        ("n_epoch", "n_epochs"),
        ("epochs", "n_epochs"),
        ("n_iter", "n_iters"),
        ("drop_lst", "drop_last"),
        ("prefetchh", "prefetch"),
        ("executer", "executor"),
        ("n_worker", "n_workers"),
        ("bars", "bar"),
        ("sed", "seed"),
        ("batchsize", "batch_size"),
    ],
)
def test_an_unknown_option_is_refused_with_the_right_name(typo, meant):
    message = f"unknown option {typo!r}.*Did you mean {meant!r}"
    assert_all_refuse(answers(2, **{typo: 1}), ArgumentTypeError, message)


def test_an_option_unlike_any_other_is_refused_with_the_list():
    with pytest.raises(ArgumentTypeError, match="Known: 'bar', 'batch_size', 'changed'"):
        pipeline.run(2, zzz=1)


def test_a_refused_run_leaves_nothing_behind():
    chain = dataset.p.init_variable("n", init=list).touch()
    with pytest.raises(ArgumentTypeError):
        chain.next_batch(2, shufle=1)
    assert chain.next_batch(2).number == 0


# ---- right values


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": np.int64(2)},
        {"n_epochs": np.int8(1)},
        {"n_epochs": None, "n_iters": 2},
        {"prefetch": None},
        {"prefetch": np.uint8(2)},
        {"prefetch": 1000},
        {"n_workers": None},
        {"n_workers": 100, "prefetch": 2},
        {"drop_last": np.True_},
        {"shuffle": np.True_},
        {"shuffle": None},
        {"shuffle": np.int64(3)},
        {"seed": 2**70},
        {"seed": np.uint64(2**63)},
        {"seed": None},
        {"executor": "serial"},
        {"executor": "serial", "prefetch": 4},
        {"target": "threads", "prefetch": 2},
    ],
    ids=repr,
)
def test_a_right_value_is_taken(options):
    assert next(pipeline.gen_batch(**{"batch_size": 2, **options})).number == 0


def test_target_is_the_old_name_of_executor():
    run = pipeline.gen_batch(2, target="serial", prefetch=4)
    assert run._workers._executor is None


# ---- which batches there are


def reference(n_items, size, n_epochs, n_iters, drop_last):
    """The batches of a run as (number, epoch, first id, length), by the plainest loop."""
    batches, epoch = [], 0
    while n_epochs is None or epoch < n_epochs:
        for start in range(0, n_items, size):
            length = min(size, n_items - start)
            if drop_last and length < size:
                continue
            if n_iters is not None and len(batches) == n_iters:
                return batches
            batches.append((len(batches), epoch, start, length))
        epoch += 1
    return batches


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(
    sizes=st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
    n_epochs=st.one_of(st.none(), st.integers(1, 3)),
    n_iters=st.one_of(st.none(), st.integers(1, 12)),
    drop_last=st.booleans(),
    prefetch=st.sampled_from([0, 2]),
)
def test_the_batches_of_a_run_are_those_of_the_plainest_loop(
    sizes, n_epochs, n_iters, drop_last, prefetch
):
    n_items, size = sizes
    given_ = {"n_epochs": n_epochs} if n_epochs is not None or n_iters is not None else {}
    run = Dataset(n_items).gen_batch(
        size, n_iters=n_iters, drop_last=drop_last, prefetch=prefetch, **given_
    )
    length = len(run)
    seen = [(b.number, b.epoch, int(b.indices[0]), len(b)) for b in run]
    expected = reference(n_items, size, n_epochs if given_ else 1, n_iters, drop_last)
    assert (seen, length) == (expected, len(expected))


def test_without_epochs_and_iterations_a_run_is_one_epoch():
    assert len(list(dataset.gen_batch(2))) == 4


def test_iterations_alone_go_on_across_epochs():
    assert [b.epoch for b in dataset.gen_batch(3, n_iters=5)] == [0, 0, 0, 1, 1]


def test_endless_is_endless():
    run = dataset.gen_batch(7, n_epochs=None)
    assert [next(run).epoch for _ in range(50)] == list(range(50))


def test_an_endless_run_has_no_length():
    with pytest.raises(TypeError, match="n_epochs or n_iters"):
        len(dataset.gen_batch(2, n_epochs=None))


def test_drop_last_gives_only_whole_batches():
    assert [len(b) for b in dataset.gen_batch(3, drop_last=True, n_epochs=2)] == [3, 3, 3, 3]


@pytest.mark.parametrize("shuffle", [False, 3])
def test_each_epoch_has_every_item_once(shuffle):
    batches = list(dataset.gen_batch(3, shuffle=shuffle, n_epochs=3))
    epochs = [
        sorted(int(i) for b in batches if b.epoch == epoch for i in b.indices) for epoch in range(3)
    ]
    assert epochs == [list(range(7))] * 3


def test_drop_last_with_a_shuffle_drops_other_items_in_each_epoch():
    batches = list(Dataset(101).gen_batch(100, shuffle=1, drop_last=True, n_epochs=5))
    dropped = [set(range(101)) - set(b.indices.tolist()) for b in batches]
    assert len({item for one in dropped for item in one}) > 1
