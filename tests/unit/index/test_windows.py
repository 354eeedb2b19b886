"""Windows over records: which there are, where they begin, and whose they are."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArrayBatch, B, Batch, Dataset, Weighted
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownAttributeError


class Signals(Batch):
    components = "signals", "labels"


def records(lengths=(10, 4, 7, 25, 12)):
    signals = np.empty(len(lengths), dtype=object)
    signals[:] = [np.arange(n) + 100 * i for i, n in enumerate(lengths)]
    ids = [f"r{i}" for i in range(len(lengths))]
    return Dataset.from_arrays(Signals, ids, signals=signals, labels=np.arange(len(lengths)))


def quietly(dataset, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dataset.windows(*args, **kwargs)


def by_hand(lengths, size, stride, partial):
    found = []
    for record, n in enumerate(lengths):
        starts = range(0, max(n, 1), stride)
        for start in starts:
            is_whole = start + size <= n
            is_more = start == 0 or start - stride + size < n
            if is_whole or (partial == "pad" and n and is_more):
                found.append((record, start))
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=8),
    st.integers(1, 6),
    st.integers(1, 7),
    st.sampled_from(["drop", "pad"]),
)
def test_the_windows_are_those_by_hand_and_each_is_found(lengths, size, stride, partial):
    expected = by_hand(lengths, size, stride, partial)
    if not expected:
        with pytest.raises(ArgumentValueError, match="none of the"):
            quietly(Dataset(len(lengths)), lengths, size, stride, partial)
        return
    windows = quietly(Dataset(len(lengths)), lengths, size, stride, partial)
    assert windows.indices.tolist() == list(windows.index) == expected
    assert windows.index.get_pos(expected).tolist() == list(range(len(expected)))
    assert (len(lengths), 0) not in windows.index
    assert (0, -1) not in windows.index
    chosen = np.random.default_rng(len(expected)).permutation(len(expected))[
        : len(expected) // 2 + 1
    ]
    part = windows.take(chosen)
    assert part.indices.tolist() == [expected[i] for i in chosen]
    assert part.index.get_pos(expected[chosen[-1]]) == len(chosen) - 1


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=5),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_along_several_axes(lengths, size, stride):
    cuts = list(zip(size, stride, strict=True))
    axes = [
        by_hand([n], *cut, "drop")
        for record in lengths
        for n, cut in zip(record, cuts, strict=True)
    ]
    expected = [
        (record, (y, x))
        for record in range(len(lengths))
        for _, y in axes[2 * record]
        for _, x in axes[2 * record + 1]
    ]
    if expected:
        windows = quietly(Dataset(len(lengths)), lengths, size, stride)
        assert windows.indices.tolist() == expected
        assert windows.index.get_pos(expected).tolist() == list(range(len(expected)))


@pytest.mark.parametrize(
    "options", [{}, {"prefetch": 2}, {"executor": "processes", "n_workers": 1}]
)
def test_batches_have_the_windows_of_their_records(options):
    windows = records().windows("signals", 4, 2)
    for batch in windows.gen_batch(5, shuffle=3, **options):
        firsts = [100 * int(r[1:]) + s for r, s in zip(batch.records, batch.starts, strict=True)]
        assert batch.signals.tolist() == [list(range(f, f + 4)) for f in firsts]
        assert [f"r{label}" for label in batch.labels] == batch.records.tolist()


def test_words_of_windows_go_through_filter_and_rebatch_and_are_refused_elsewhere():
    batch = records().windows("signals", 4, 4).p.filter(B.labels > 1).rebatch(3).next_batch(2)
    assert batch.records.tolist() == ["r2", "r3", "r3"]
    assert batch.starts.tolist() == [0, 0, 4]
    with pytest.raises(UnknownAttributeError, match=r"dataset.windows\("):
        _ = records().next_batch(2).records


def test_what_is_cut_at_the_end_is_filled_up():
    batch = records((3, 6)).windows("signals", 4, 4, "pad").next_batch(9)
    assert batch.signals.tolist() == [[0, 1, 2, 0], [100, 101, 102, 103], [104, 105, 0, 0]]


def test_records_that_are_too_short_are_counted_in_a_warning():
    with pytest.warns(UserWarning, match="2 of 5 records are shorter than a window of 10"):
        windows = records().windows("signals", 10)
    assert windows.index.n_too_short == 2


@settings(max_examples=300, deadline=None)
@given(st.integers(8, 30), st.integers(0, 99), st.booleans())
def test_no_record_is_in_two_parts(n, seed, has_groups):
    lengths = np.random.default_rng(seed).integers(4, 30, n)
    windows = Dataset(n).windows(lengths, 4, 3)
    groups = np.arange(n) // 2 if has_groups else None
    for parts in (windows.split(0.5, 0.25, shuffle=seed, groups=groups), *windows.kfold(2)):
        found = [{i[0] for i in part.indices} for part in parts if part is not None]
        assert sum(map(len, found)) == len(set.union(*found)) == n
        if has_groups and parts.validation is not None:
            named = [{int(groups[r]) for r in one} for one in found]
            assert sum(map(len, named)) == len(set.union(*named))
        sub = parts.train.split(0.5)
        assert not {i[0] for i in sub.train.indices} & {i[0] for i in sub.test.indices}


def test_orders_shards_and_replay_take_windows_as_any_items():
    windows = records().windows("signals", 4, 2)
    whole = [i for b in windows.gen_batch(4, shuffle=1) for i in b.indices]
    shards = [windows.shard(k, 2).gen_batch(4, shuffle=1) for k in range(2)]
    assert sorted(i for s in shards for b in s for i in b.indices) == sorted(whole)
    batch = windows.p.replay(2, 4, shuffle=1)
    assert batch.indices.tolist() == whole[8:12]
    heavy = windows.next_batch(50, shuffle=Weighted(np.arange(len(windows)) == 3, n=2))
    assert heavy.source_ids.tolist() == [windows.indices[3]] * 2
    assert heavy.signals.shape == (2, 4)


def test_one_array_of_records_and_lazy_ones_are_cut_without_being_read_whole():
    class Watched:
        shape, dtype = (3, 50), np.dtype(int)

        def __init__(self):
            self.asked = []

        def __len__(self):
            return 3

        def __getitem__(self, where):
            self.asked.append(where)
            return np.arange(150).reshape(3, 50)[where]

    class Arrays(ArrayBatch):
        components = "x"

    lazy = Watched()
    windows = Dataset.from_arrays(Arrays, x=lazy).windows("x", 5)
    batch = windows.next_batch(2)
    assert batch.x.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert lazy.asked[-2:] == [(0, slice(0, 5)), (0, slice(5, 10))]


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"lengths": [5, 5], "size": 2}, ArgumentValueError, "lengths from 0 on of 5 records"),
        ({"lengths": [-1] * 5, "size": 2}, ArgumentValueError, "from 0 on"),
        ({"lengths": [1.5] * 5, "size": 2}, ArgumentTypeError, "whole numbers"),
        ({"lengths": [5] * 5, "size": 0}, ArgumentValueError, "at least 1"),
        ({"lengths": [5] * 5, "size": 2, "stride": 0}, ArgumentValueError, "at least 1"),
        ({"lengths": [5] * 5, "size": 2.5}, ArgumentTypeError, "whole number"),
        ({"lengths": [5] * 5, "size": (2, 2)}, ArgumentValueError, "2 axes"),
        ({"lengths": [5] * 5, "size": (2, 2), "stride": 1}, ArgumentValueError, "stride 1"),
        ({"lengths": [5] * 5, "size": 2, "partial": "keep"}, ArgumentValueError, '"pad"'),
        ({"lengths": [5] * 5, "size": 9}, ArgumentValueError, "the longest has 5"),
        ({"lengths": "labels", "size": 2}, ArgumentTypeError, "fewer axes"),
        ({"lengths": "signal", "size": 2}, ArgumentValueError, "signal"),
        ({"lengths": ("signals", "labels"), "size": 2}, ArgumentTypeError, "fewer axes"),
    ],
)
def test_wrong_arguments_are_refused(options, error, told):
    with pytest.raises(error, match=told):
        records().windows(**options)


def test_many_windows_take_little_memory():
    import tracemalloc

    lengths = np.random.default_rng(0).integers(40, 280, 200_000)
    tracemalloc.start()
    windows = Dataset(200_000).windows(lengths, 32, 2)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(windows) > 12_000_000
    assert held < 2_000_000
