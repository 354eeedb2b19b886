"""Datasets mixed by weight: ids, data, what fits together and what does not."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    BatchflowError,
    Bucketed,
    Dataset,
    Shuffle,
    UnknownAttributeError,
    Weighted,
)
from batchflow import B as E
from batchflow.interop.indexed import IndexedFeed


class Rows(ArrayBatch):
    components = "x", "of"


class Files(Batch):
    components = "x"


class Counted:
    """A source that counts how often each of its blocks is read."""

    def __init__(self, n, blocks):
        self.n, self.blocks, self.reads = n, blocks, []

    def __len__(self):
        return self.n

    def read(self, positions):
        self.reads += np.unique(np.searchsorted(self.blocks, positions, side="right")).tolist()
        return {"data": positions}


class Large(Counted):
    def read(self, positions):
        return {"data": positions}


def rows(n, of, **more):
    return Dataset.from_arrays(Rows, x=np.arange(n), of=np.full(n, of), **more)


A, B = rows(100, 0), rows(40, 1)


def test_a_batch_has_the_rows_of_its_items():
    mixed = Dataset.mix([A, B], [3, 1], stop="longest")
    for batch in mixed.gen_batch(16, shuffle=4):
        assert batch.indices.tolist() == list(range(len(batch)))
        assert batch.source_ids.tolist() == [*zip(batch.of.tolist(), batch.x.tolist(), strict=True)]
        assert batch.dataset is mixed
    assert mixed.create_batch([(1, 7), (0, 7), (0, 3)]).x.tolist() == [7, 7, 3]
    assert mixed.create_batch((1, 39)).of.tolist() == [1]
    assert (0, 40) in mixed.index
    assert all(item not in mixed.index for item in [(1, 40), (2, 0), 7, (True, 7, 1)])


@pytest.mark.parametrize("shuffle", [True, Shuffle(block=4, window=2)])
def test_a_shuffled_epoch_is_another_one_and_sources_are_not_in_step(shuffle):
    mixed = Dataset.mix([rows(64, 0), rows(64, 1)], [1, 1])
    first, second = mixed.gen_batch(128, shuffle=shuffle, seed=3, n_epochs=2)
    assert first.x.tolist() != second.x.tolist()
    assert first.x[first.of == 0].tolist() != first.x[first.of == 1].tolist()
    assert sorted(first.source_ids.tolist()) == sorted(second.source_ids.tolist())


def test_without_shuffle_the_datasets_take_turns():
    (batch,) = Dataset.mix([A, B], [3, 1]).gen_batch(200)
    assert batch.x[batch.of == 0].tolist() == list(range(100))
    assert batch.x[batch.of == 1].tolist() == list(range(33))
    assert (np.abs(np.cumsum(batch.of) - np.arange(1, 134) / 4) <= 1).all()


def test_an_epoch_ends_as_it_is_told():
    assert len(Dataset.mix([A, B], [3, 1])) == 133
    assert len(Dataset.mix([A, B], [3, 1], stop="longest")) == 160
    assert len(Dataset.mix([A, B, A], [0.1, 0.2, 0.7])) == 142
    assert len(Dataset.mix([A, B, A], [0.1, 0.2, 0.7], stop="longest")) == 1000
    mixed = Dataset.mix([A, B], [3, 1], n=1000)
    assert len(mixed) == len(mixed.next_batch(1000)) == 1000
    assert len(mixed.gen_batch(64)) == 16
    assert [len(mixed.shard(k, 3)) for k in range(3)] == [333, 333, 334]
    assert repr(mixed.shard(0, 3)) == "<Dataset of 333 items, Rows, mixed of 2, shard 0 of 3>"


def test_ids_stay_what_they_are_where_none_is_in_two():
    one = Dataset.from_arrays(ArrayBatch, index=["a", "b"], data=np.array(["x", "yy"]))
    two = Dataset.from_arrays(ArrayBatch, index=["c", "dddd"], data=np.array(["zzzzz", "w"]))
    mixed = Dataset.mix([one, two], [1, 1])
    batch = mixed.next_batch(4)
    assert batch.indices.tolist() == ["a", "c", "b", "dddd"]
    assert batch.data.tolist() == ["x", "zzzzz", "yy", "w"]
    assert mixed.create_batch(["a"]).data.dtype == batch.data.dtype  # whichever rows are read
    numbers = Dataset.from_arrays(ArrayBatch, index=[1, 2], data=np.array(["x", "y"]))
    assert Dataset.mix([one, numbers], [1, 1]).next_batch(4).indices.tolist() == ["a", 1, "b", 2]


def test_parts_of_a_split_are_mixed():
    parts = rows(10, 0).split(0.8)
    mixed = Dataset.mix([parts.train, parts.test], [1, 1], stop="longest")
    batch = mixed.next_batch(16)
    assert batch.source_ids.tolist() == batch.x.tolist()
    assert sorted({*batch.x.tolist()}) == list(range(10))


def test_files_of_two_folders_are_loaded(tmp_path):
    for folder, first in ("a", 0), ("b", 10):
        (tmp_path / folder).mkdir()
        for number in range(3):
            np.save(tmp_path / folder / f"{number}.npy", np.full(2, first + number))
    parts = [Dataset.from_files(tmp_path / folder / "*.npy", Files) for folder in "ab"]
    for options in {}, {"stop": "longest"}:
        pipeline = Dataset.mix(parts, [1, 2], **options).p.load(fmt="npy", components="x")
        for batch in pipeline.gen_batch(3, shuffle=1):
            wanted = [10 * source + int(name[0]) for source, name in batch.source_ids.tolist()]
            assert [x[0] for x in batch.x] == wanted
            source, name = batch.source_ids[0]
            path = batch.dataset.index.get_fullpath((source, name))
            assert path == str(tmp_path / "ab"[source] / name)


def test_windows_of_two_datasets_are_mixed():
    parts = [rows(6, of, index=np.arange(6)) for of in range(2)]
    lengths = np.full(6, 8)
    mixed = Dataset.mix([part.windows(lengths, 4) for part in parts], [1, 1])
    batch = mixed.next_batch(12, shuffle=1)
    ids = [*zip(batch.records.tolist(), batch.starts.tolist(), strict=True)]
    assert ids == [own for _, own in batch.source_ids.tolist()]
    with pytest.raises(UnknownAttributeError, match="none of windows"):
        _ = Dataset.mix(parts, [1, 1]).next_batch(2).records


def test_memory_does_not_grow_with_the_items():
    tracemalloc.start()
    parts = [Dataset(n, ArrayBatch, source=Large(n, 64)) for n in (10**9, 10**8)]
    mixed = Dataset.mix(parts, [1, 3], stop="longest")
    run = mixed.gen_batch(64, shuffle=1)
    for _ in range(20):
        next(run)
    run.close()
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()
    assert len(mixed) >= 4 * 10**9 - 4
    assert len(pickle.dumps(mixed)) < 4000


def test_keras_reads_a_mixture_by_index():
    feed = Dataset.mix([A, B], [3, 1], n=200).p.feed(16, (E.x, E.of), shuffle=True, seed=1)
    by_index = IndexedFeed(feed._program, feed._options)
    expected = [[values.tolist() for values in batch] for (batch,) in feed]
    assert len(by_index) == len(expected) == 13
    by_index.begin_epoch()
    for place in (7, 0, 12):
        assert [values.tolist() for values in by_index.read(place)[0]] == expected[place]
    by_index.close()


def test_a_mixture_is_copied_and_pickled():
    mixed = Dataset.mix([A, B], [3, 1], n=50)
    wanted = [batch.x.tolist() for batch in mixed.gen_batch(8, shuffle=1)]
    for other in pickle.loads(pickle.dumps(mixed)), copy.deepcopy(mixed):
        assert [batch.x.tolist() for batch in other.gen_batch(8, shuffle=1)] == wanted


def test_blocks_of_any_sizes_are_read_once_where_they_are_mixed():
    firsts = np.array([0, 3, 50, 51, 90, 128])
    sources = [Counted(n, firsts) for n in (150, 150)]
    parts = [Dataset(150, ArrayBatch, source=source) for source in sources]
    mixed = Dataset.mix(parts, [1, 1])
    for source in sources:
        source.reads.clear()
    list(mixed.gen_batch(7, shuffle=Shuffle(window=6), seed=1))
    assert [sorted(source.reads) for source in sources] == [[1, 2, 3, 4, 5, 6]] * 2


def test_a_batch_that_changes_objects_does_not_change_kept_blocks():
    class Lists(Counted):
        def read(self, positions):
            super().read(positions)
            found = np.empty(len(positions), object)
            found[:] = [[int(position)] for position in positions]
            return {"x": found}

    dataset = Dataset(40, Files, source=Lists(40, np.arange(0, 40, 7)))
    for batch in dataset.gen_batch(5, shuffle=Shuffle(window=3), seed=1, n_epochs=2):
        assert [x[0] for x in batch.x] == batch.indices.tolist()
        for x in batch.x:
            x[0] = -1


OTHER_KIND = Dataset.from_arrays(Rows, x=np.arange(4.0), of=np.arange(4))
OTHER_SHAPE = Dataset.from_arrays(Rows, x=np.zeros((4, 2), int), of=np.arange(4))
LESS = Dataset.from_arrays(Rows, x=np.arange(4))
MIXED = Dataset.mix([A, B], [1, 1])


@pytest.mark.parametrize(
    ("datasets", "weights", "options", "words"),
    [
        ([A], [1], {}, "two datasets or more, got 1"),
        (A, [1, 1], {}, "takes a list of datasets"),
        ([A, A.p], [1, 1], {}, "1 is no dataset.*pipeline.merge"),
        ([A, Rows], [1, 1], {}, "1 is no dataset"),
        ([A, B.shard(0, 2)], [1, 1], {}, "1 is a shard.*shard the result"),
        ([MIXED, A], [1, 1], {}, "0 is mixed itself"),
        ([A, Dataset(4)], [1, 1], {}, "of one class; dataset 0 has Rows, dataset 1 has Batch"),
        ([A, OTHER_KIND], [1, 1], {}, "Rows.x is an array of int64.*float64.*make them alike"),
        ([A, OTHER_SHAPE], [1, 1], {}, r"shape \(2,\)"),
        ([A, LESS], [1, 1], {}, "Rows.of is an array.*not given in dataset 1"),
        ([A, B], [1], {}, r"expected 2 weights.*\(1,\)"),
        ([A, B], 1, {}, "expected 2 weights"),
        ([A, B], [1, 0], {}, "above 0 and finite, got 0; leave out"),
        ([A, B], [1, -1], {}, "got -1"),
        ([A, B], [1, np.nan], {}, "got nan"),
        ([A, B], [1, np.inf], {}, "got inf"),
        ([A, B], "ab", {}, "weights are numbers"),
        ([A, B], [1, None], {}, "weights are numbers"),
        ([A, B], [True, True], {}, "weights are numbers"),
        ([A, B], [1, 1], {"stop": "short"}, "Did you mean 'shortest'"),
        ([A, B], [1, 1], {"n": 0}, "n must be at least 1"),
        ([A, B], [1, 1], {"n": 1.5}, "n must be a whole number"),
        ([A, B], [1, 1e-18], {"stop": "longest"}, "has no end; give the number"),
    ],
)
def test_what_cannot_be_mixed_is_refused(datasets, weights, options, words):
    with pytest.raises(BatchflowError, match=words):
        Dataset.mix(datasets, weights, **options)


def test_labels_that_mean_other_classes_are_refused():
    parts = [rows(4, of) for of in range(2)]
    parts[0].classes, parts[1].classes = ("cat", "dog"), ("dog", "cat")
    with pytest.raises(ArgumentValueError, match="numbers of labels mean other classes"):
        Dataset.mix(parts, [1, 1])
    parts[1].classes = ("cat", "dog")
    assert Dataset.mix(parts, [1, 1]).classes == ("cat", "dog")


@pytest.mark.parametrize("method", ["split", "kfold", "take", "create_subset", "cv_split"])
def test_a_mixture_has_no_parts_but_shards(method):
    with pytest.raises(ArgumentValueError, match=r"mixed of 2 others.*a\.train, b\.train"):
        getattr(MIXED, method)(*([[0]] if method in ("take", "create_subset") else []))


@pytest.mark.parametrize("order", [Weighted([1] * 140), Bucketed("x"), lambda places: places])
def test_another_order_is_refused_before_the_first_batch(order):
    with pytest.raises(ArgumentTypeError, match="weights of a mixture say which items come"):
        MIXED.gen_batch(4, shuffle=order)


def labelled(classes):
    dataset = rows(4, 0)
    dataset.classes = classes
    return dataset


@pytest.mark.parametrize("step", ["concat", "merge"])
def test_numbers_that_mean_other_classes_are_not_put_together_in_a_pipeline(step):
    cats, emus = labelled(("cat", "dog")), labelled(("cat", "emu"))
    for other in (emus, emus.p):
        with pytest.raises(ArgumentValueError, match="numbers of labels mean other classes") as e:
            getattr(cats.p, step)(other)
        assert f"in {step}" in e.value.__notes__[0]
    for other in (labelled(("cat", "dog")), labelled(None)):
        assert len(list(getattr(cats.p, step)(other).gen_batch(2)))


def test_a_function_may_merge_batches_whose_labels_mean_other_classes():
    cats, emus = labelled(("cat", "dog")), labelled(("cat", "emu"))
    merged = cats.p.merge(emus, fn=lambda batches: batches[0])
    assert [len(batch) for batch in merged.gen_batch(2)] == [2, 2]
