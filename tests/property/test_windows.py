"""Windows over many records: which there are, what is in them, and the laws for them."""

import pickle
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    Shuffle,
    UnknownAttributeError,
    Weighted,
    action,
    assemble_windows,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*shorter than a window")


class Signals(ArrayBatch):
    components = "signal", "label", "noise"

    @action
    def jitter(self):
        self.noise = self.rng.random(len(self)) + self.starts.reshape(len(self), -1).sum(1)
        return self


def ragged(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


def signals(lengths, n_axes=1, start=0):
    items = []
    for length in lengths:
        shape = tuple(np.broadcast_to(length, n_axes))
        n = int(np.prod(shape))
        items.append(np.arange(start, start + n).reshape(shape))
        start += n
    return ragged(items)


def dataset_of(items, ids=None):
    return Dataset.from_arrays(Signals, ids, signal=items, label=np.arange(len(items)))


def expected(shapes, size, stride, partial):
    """The windows of each record, by the definition."""
    for record, shape in enumerate(shapes):
        grids = []
        for length, n, step in zip(shape, size, stride, strict=True):
            starts = [s for s in range(0, max(length - n, 0) + 1, step) if length >= n]
            if partial == "pad":
                starts = []
                for start in range(0, length, step):
                    starts.append(start)
                    if start + n >= length:
                        break
            grids.append(starts)
        yield from ((record, start) for start in product(grids))


def product(grids):
    if not grids:
        return [()]
    return [(first, *rest) for first in grids[0] for rest in product(grids[1:])]


AXES = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(*[st.integers(1, 7)] * n), min_size=1, max_size=5),
        st.tuples(*[st.integers(1, 4)] * n),
        st.tuples(*[st.integers(1, 4)] * n),
    )
)


@settings(max_examples=300, deadline=None)
@given(AXES, st.sampled_from(["drop", "pad"]), st.sampled_from([0, -1, 2**40]))
def test_windows_are_those_of_the_definition(given_axes, partial, value):
    shapes, size, stride = given_axes
    filling = {"value": value, "mask": "noise"} if partial == "pad" else {}
    wanted = list(expected(shapes, size, stride, partial))
    dataset = dataset_of(signals(shapes, len(size)))
    if not wanted:
        with pytest.raises(ArgumentValueError, match="as long as a window"):
            dataset.windows("signal", size, stride, partial)
        return
    windows = dataset.windows("signal", size, stride, partial, **filling)
    assert windows.indices.tolist() == wanted
    assert windows.index.get_pos(list(windows.indices)).tolist() == list(range(len(wanted)))
    batch = windows.create_batch(windows.indices)
    for (record, start), piece in zip(wanted, batch.signal, strict=True):
        whole = dataset._data.columns["signal"][record]
        where = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        padded = np.full(size, value)
        held = whole[where]
        inside = tuple(slice(n) for n in held.shape)
        padded[inside] = held
        assert (piece == padded).all()
        if partial == "pad":
            mask = batch.noise[windows.index.get_pos((record, start))]
            assert mask[inside].all()
            assert mask.sum() == held.size
    assert batch.label.tolist() == [record for record, _ in wanted]


RUNS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 9),
        "shuffle": st.sampled_from([False, 3, Shuffle("source", 2), Shuffle(4), Weighted("label")]),
        "seed": st.integers(0, 5),
        "n_epochs": st.integers(1, 2),
        "drop_last": st.booleans(),
    }
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(3, 12), min_size=2, max_size=6),
    st.integers(1, 3),
    st.integers(1, 5),
    RUNS,
    st.booleans(),
    st.integers(1, 3),
)
def test_one_answer_and_replay(lengths, size, stride, options, rebatches, n_shards):
    whole = dataset_of(signals(lengths)).windows("signal", size, stride, "pad")
    n_shards = min(n_shards, len(whole) // 9 + 1)
    options["batch_size"] = min(options["batch_size"], max(len(whole) // n_shards, 1))
    seen = []
    for number in range(n_shards):
        windows = whole.shard(number, n_shards) if n_shards > 1 else whole
        chain = windows.p.jitter()
        chain = chain.rebatch(3) if rebatches and not options["drop_last"] else chain
        first = list(chain.gen_batch(**options))
        if number == 0:
            assert facts(chain.gen_batch(prefetch=3, **options)) == facts(first)
        if not rebatches:
            again = chain.replay(first[-1].number, **options)
            assert facts([again]) == facts(first[-1:])
            rest = chain.gen_batch(first_epoch=options["n_epochs"] - 1, **options)
            last = [b for b in first if b.epoch == options["n_epochs"] - 1]
            assert [b.noise.tolist() for b in rest][: len(last)] == [b.noise.tolist() for b in last]
        seen += [item for b in first if b.epoch == 0 for item in b.source_ids.tolist()]
    if not options["drop_last"] and not isinstance(options["shuffle"], Weighted):
        assert sorted(seen) == sorted(whole.indices.tolist())


def facts(batches):
    names = "noise", "signal", "label", "records", "starts", "indices", "source_ids"
    return [(b.number, b.epoch, *(getattr(b, n).tolist() for n in names)) for b in batches]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=5, max_size=12),
    st.sampled_from([False, 1, 2]),
    st.sampled_from([{}, {"by": "hash"}, {"stratify": "label"}, {"groups": "label"}]),
    st.booleans(),
)
def test_no_two_parts_have_windows_of_one_record(lengths, shuffle, rules, of_part):
    labels = np.arange(len(lengths)) % 2 if "stratify" in rules else np.arange(len(lengths))
    dataset = Dataset.from_arrays(Signals, signal=signals(lengths), label=labels)
    windows = dataset.windows("signal", 1, 1)
    if of_part:
        windows = windows.take(np.random.default_rng(0).permutation(len(windows))[2:])
    splits = []
    with suppress(ArgumentValueError) if "by" in rules else nullcontext():  # a part has no hash
        splits.append(windows.split(0.5, 0.2, shuffle=shuffle, **rules))
        splits += windows.kfold(2, shuffle=shuffle, **rules)
    for parts in splits:
        given_parts = [part for part in parts if part is not None]
        records = [set(part.create_batch(part.indices).records.tolist()) for part in given_parts]
        assert sum(map(len, records)) == len(set().union(*records))
        ids = [item for part in given_parts for item in part.indices.tolist()]
        assert sorted(ids) == sorted(windows.indices.tolist())
        for part in given_parts:
            (batch,) = part.gen_batch(len(part))
            assert (batch.label == labels[batch.records]).all()


def test_a_split_by_positions_that_leaks_is_refused():
    windows = dataset_of(signals([6, 6])).windows("signal", 2, 1)
    with pytest.raises(ArgumentValueError, match=r"1 records are in two parts.*\[0\]"):
        windows.split(train=slice(0, 3))
    assert len(windows.split(train=slice(0, 5)).train) == 5


def test_groups_and_strata_are_given_for_records():
    dataset = Dataset.from_arrays(Signals, signal=signals([4, 9, 1, 4]), label=[0, 0, 1, 1])
    windows = dataset.windows("signal", 2, 1)  # the record 2 is too short
    for groups in (["a", "b", "x", "a"], ["a", "b", "a"], np.array([0] * 3 + [1] * 8 + [0] * 3)):
        parts = windows.split(0.5, groups=groups)
        found = [set(p.create_batch(p.indices).records.tolist()) for p in (parts.train, parts.test)]
        assert sorted(map(sorted, found)) == [[0, 3], [1]]
    with pytest.raises(ArgumentValueError, match="different values"):
        windows.split(0.5, groups=np.arange(14))
    with pytest.raises(ArgumentValueError, match="4 records"):
        windows.split(0.5, groups=np.arange(7))


def test_processes_give_the_same_windows():
    windows = dataset_of(signals([30, 20, 25]), ["x", "y", "z"]).windows("signal", 4, 2)
    chain = windows.p.jitter()
    here = facts(chain.gen_batch(5, shuffle=1))
    there = facts(chain.gen_batch(5, shuffle=1, executor="processes", n_workers=1))
    assert here == there


def test_an_index_of_millions_of_windows_is_small_and_so_is_that_of_a_batch():
    lengths = np.random.default_rng(1).integers(100, 900, 200_000)
    windows = Dataset(200_000, Batch).windows(lengths, 100, 5)
    assert len(windows) > 16_000_000
    assert len(pickle.dumps(windows.index)) < 2_000_000
    batch = windows.next_batch(256, shuffle=1)
    index = pickle.loads(pickle.dumps(batch.index))
    assert index.indices.tolist() == batch.indices.tolist()
    assert len(pickle.dumps(batch.index)) < 20_000
    part = windows.split(0.8, shuffle=1).test
    assert len(pickle.dumps(part.index)) < 2_000_000


def test_stored_signals_are_cut_and_not_read_as_a_whole(tmp_path):
    h5py = pytest.importorskip("h5py")
    values = np.arange(200.0).reshape(4, 50)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["signal"], file["label"], file["noise"] = values, np.arange(4), list("abcd")
    names = {name: name for name in Signals.components}
    stored = Dataset.from_hdf5(tmp_path / "s.h5", Signals, **names).windows([50] * 4, 10, 5)
    mapped = np.lib.format.open_memmap(tmp_path / "s.npy", "w+", float, (4, 50))
    mapped[:] = values
    lazy = Dataset.from_arrays(Signals, signal=mapped, label=np.arange(4)).windows("signal", 10, 5)
    assert stored.create_batch([(2, 5)]).noise.tolist() == ["c"]
    by_name = Dataset.from_hdf5(tmp_path / "s.h5", Signals, **names).windows("signal", 10, 5)
    assert by_name.indices.tolist() == stored.indices.tolist()
    for batches in zip(*(w.gen_batch(8, shuffle=1) for w in (stored, lazy)), strict=True):
        for batch in batches:
            want = [values[r, s : s + 10] for r, s in zip(batch.records, batch.starts, strict=True)]
            assert (batch.signal == want).all()
            assert batch.label.tolist() == batch.records.tolist()


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_mask_tells_where_records_are_of_any_data(executor):
    class Masked(Batch):
        components = "signal", "label", "inside"

    lengths = [3, 7, 5]
    given = Dataset.from_arrays(Masked, list("abc"), signal=signals(lengths)).take([2, 0])
    read = Dataset(3, Masked, source=Reader()).take([2, 0])
    bare = Dataset(3, Masked).take([2, 0])
    options = {"executor": executor, "n_workers": 1} if executor == "processes" else {}
    for dataset, some, src in (
        (given, [5, 3], None),
        (read, [10, 10], "signal"),
        (bare, [5, 3], None),
    ):
        windows = dataset.windows(some, 4, 2, "pad", mask="inside", src=src)
        (batch,) = windows.gen_batch(99, shuffle=1, **options)
        lengths_of = dict(zip(dataset.indices.tolist(), some, strict=True))
        left = [lengths_of[r] - s for r, s in zip(batch.records, batch.starts, strict=True)]
        assert batch.inside.sum(1).tolist() == [min(n, 4) for n in left]
        assert batch.inside[:, 0].all()


class Reader:
    """A source that reads whole records."""

    def __len__(self):
        return 3

    def read(self, positions):
        return {"signal": ragged([np.arange(p, p + 10) for p in positions]), "label": positions}


def test_a_source_of_records_is_cut_where_it_is_said_what():
    dataset = Dataset(3, Signals, source=Reader())
    with pytest.raises(ArgumentTypeError, match="src="):
        dataset.windows([10] * 3, 4, 3)
    batch = dataset.windows([10] * 3, 4, 3, src="signal").next_batch(9)
    assert batch.signal[:, 0].tolist() == [r + s for r, s in batch.indices.tolist()]
    assert batch.label.tolist() == batch.records.tolist()
    with pytest.raises(ArgumentValueError, match="shorter than lengths says"):
        dataset.windows([11] * 3, 11, 1, src="signal").next_batch(1)


def test_records_too_short_are_told():
    dataset = dataset_of(signals([2, 5, 1]), ["a", "b", "c"])
    with pytest.warns(UserWarning, match=r"2 of 3 records are shorter.*\['a', 'c'\]"):
        windows = dataset.windows("signal", 3, 1)
    assert windows.index.n_too_short == 2
    assert windows.index.records.indices.tolist() == ["b"]
    assert windows.create_batch([("b", 2)]).signal.tolist() == [[5 - 1, 5, 6]]


BAD = [
    ({"size": 9, "stride": 1}, "as long as a window of 9; the longest has 6"),
    ({"size": 0, "stride": 1}, "at least 1"),
    ({"size": 2, "stride": 0}, "at least 1"),
    ({"size": 2.5, "stride": 1}, "whole number"),
    ({"size": (2, 2), "stride": (1, 1)}, "fewer axes"),
    ({"size": 2, "stride": (1, 1)}, "size has 1 axes, stride 2"),
    ({"size": 2, "stride": 1, "partial": "keep"}, "partial"),
    ({"size": 2, "stride": 1, "value": 1}, 'partial="pad"'),
    ({"size": 2, "stride": 1, "value": False}, 'partial="pad"'),
    ({"size": 2, "stride": 1, "mask": "noise"}, 'partial="pad"'),
    ({"size": 2, "stride": 1, "partial": "pad", "value": 0.5}, "no value of 'signal'"),
    ({"size": 2, "stride": 1, "partial": "pad", "value": np.nan}, "no value of 'signal'"),
    ({"size": 2, "stride": 1, "partial": "pad", "mask": "nois"}, "noise"),
    ({"size": 2, "stride": 1, "partial": "pad", "mask": "label"}, "have data in 'label'"),
    ({"size": 2, "stride": 1, "partial": "pad", "mask": "signal"}, "have data in 'signal'"),
    ({"size": 2, "stride": 1, "lengths": [6]}, "3 records"),
    ({"size": 2, "stride": 1, "lengths": [6, -1, 6]}, "from 0 on"),
    ({"size": 2, "stride": 1, "lengths": [6.0, 6.0, 6.5]}, "whole numbers"),
    ({"size": 2, "stride": 1, "lengths": [6, 6, 5]}, "1 of 3 records have another length"),
    ({"size": 2, "stride": 1, "lengths": {0: 6}}, "2 records have none"),
    ({"size": 2, "stride": 1, "lengths": "signl"}, "signal"),
    ({"size": 2, "stride": 1, "src": "lable"}, "label"),
    ({"size": 2, "stride": 1, "src": "label"}, "another length"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_what_cannot_be_cut_is_refused(call, message):
    dataset = dataset_of(signals([6, 6, 6]))
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=message):
        dataset.windows(**{"lengths": "signal", **call})


def test_batches_of_other_items_have_no_records():
    batch = dataset_of(signals([6])).next_batch(1)
    assert not hasattr(batch, "records")
    with pytest.raises(UnknownAttributeError, match=r"dataset\.windows"):
        _ = batch.starts


def test_names_of_users_win():
    class Mine(Batch):
        components = "records", "starts"

    batch = Dataset.from_arrays(Mine, records=[1, 2], starts=[3, 4]).next_batch(2)
    assert batch.records.tolist() == [1, 2]


def test_a_run_over_windows_goes_on_where_it_was_and_not_over_others():
    dataset = dataset_of(signals([30, 20]))
    chain = dataset.windows("signal", 4, 2).split(0.5).train.p.jitter()
    run = chain.gen_batch(3, shuffle=1)
    next(run)
    state = run.state_dict()
    rest = facts(run)
    assert facts(chain.gen_batch(3, shuffle=1, state=state)) == rest
    other = dataset.windows("signal", 4, 3).split(0.5).train.p.jitter()
    with pytest.raises(ArgumentValueError):
        other.gen_batch(3, shuffle=1, state=state)


@settings(max_examples=300, deadline=None)
@given(AXES, st.integers(1, 5), st.sampled_from([None, "hann"]))
def test_windows_are_put_together_again_at_once_and_record_by_record(axes, batch_size, weights):
    shapes, size, stride = axes
    stride = tuple(min(step, n) for step, n in zip(stride, size, strict=True))  # without gaps
    items = signals(shapes, len(size))
    windows = dataset_of(items).windows("signal", size, stride, "pad")
    parts = [(b.signal, b.records, b.starts) for b in windows.gen_batch(batch_size)]
    lengths = dict(enumerate(shapes))
    in_order = list(assemble_windows(iter(parts), lengths=lengths, weights=weights))
    assert [record for record, _ in in_order] == list(range(len(items)))
    out, records, starts = (np.concatenate(column) for column in zip(*parts, strict=True))
    at_once = assemble_windows(out, records, starts, lengths, weights)
    for record, whole in in_order:
        np.testing.assert_allclose(whole, items[record])
        assert (whole == at_once[record]).all()


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([(np.ones((3, 2)), ["a", "b", "a"], [0, 0, 1])], "come again"),
        ([(np.ones((3, 2)), ["a", "b"], [0, 0, 1])], "do not fit"),
        ([np.ones((3, 2))], "for each batch"),
    ],
)
def test_windows_that_do_not_come_in_a_row_are_refused(parts, told):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=told):
        list(assemble_windows(parts))


def test_windows_of_windows_are_refused():
    windows = dataset_of(signals([6])).windows("signal", 4, 1)
    with pytest.raises(ArgumentTypeError, match="windows already"):
        windows.windows([4] * 3, 2, src="signal")
