"""Arrays on disk: read by rows, never as a whole, and opened again where they have travelled."""

import os
import pickle

import h5py
import numpy as np
import pytest
from kit import Loose, Rows

from batchflow import ArgumentTypeError, ArgumentValueError, Dataset
from batchflow.executors.serialization.reductions import reduced_to_file

VALUES = np.arange(60.0).reshape(20, 3)


class Watched:
    """A lazy array that keeps what was asked for, and takes only what h5py takes."""

    shape, dtype = VALUES.shape, VALUES.dtype

    def __init__(self, values=VALUES):
        self.asked = []
        self._values = values

    def __len__(self):
        return len(VALUES)

    def __getitem__(self, rows):
        self.asked.append(rows)
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all()
        return self._values[rows]

    def __array__(self, *args, **kwargs):
        raise AssertionError("it was read as a whole")


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "rows.h5", "w") as new:
        new["deep/x"], new["y"] = VALUES, np.arange(20)
    with h5py.File(tmp_path / "rows.h5", "r") as opened:
        yield opened


WAYS = {
    "from_arrays": lambda cls, x, y: Dataset.from_arrays(cls, x=x, y=y).p,
    "preloaded": lambda cls, x, y: Dataset(20, cls, preloaded=(x, y)).p,
    "load": lambda cls, x, y: Dataset(20, cls).p.load(src=(x, y)),
    "load by name": lambda cls, x, y: Dataset(20, cls).p.load(src={"x": x, "y": y}),
}
OPTIONS = [
    {},
    {"shuffle": 1},
    {"shuffle": 1, "prefetch": 3},
    {"shuffle": 1, "executor": "processes", "n_workers": 1},
]


@pytest.mark.parametrize("cls", [Rows, Loose])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("options", OPTIONS, ids=["direct", "shuffled", "threads", "processes"])
def test_batches_have_the_rows_of_an_hdf5_file(file, cls, way, options):
    for batch in way(cls, file["deep/x"], file["y"]).gen_batch(6, **options):
        assert type(batch.x) is np.ndarray
        assert batch.y.tolist() == batch.indices.tolist()
        assert batch.x.tolist() == VALUES[batch.indices].tolist()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_only_the_rows_of_the_batch_are_read(way):
    lazy = Watched()
    next(way(Rows, lazy, np.arange(20)).gen_batch(4, shuffle=1))
    next(way(Rows, lazy, np.arange(20)).gen_batch(4))
    shuffled, in_order = lazy.asked
    assert len(shuffled) == 4
    assert in_order == slice(0, 4)


def test_a_lazy_array_of_another_length_is_refused_without_being_read():
    lazy = Watched()
    with pytest.raises(ArgumentValueError, match=r"the index has 19 items, .* 20 rows"):
        Dataset(19, Rows, preloaded={"x": lazy})
    batch = Rows(19)
    with pytest.raises(ArgumentValueError, match="expected 19 items, got 20"):
        batch.x = lazy
    assert lazy.asked == []


def test_a_read_that_fails_names_the_positions():
    class Broken(Watched):
        def __getitem__(self, rows):
            raise OSError("bad block")

    with pytest.raises(OSError, match="bad block") as caught:
        Dataset.from_arrays(Rows, x=Broken()).next_batch(4)
    notes = "\n".join(caught.value.__notes__)
    assert "while Rows.x was read, at the positions [0, 1, 2, 3]" in notes
    assert "batch 0, epoch 0" in notes


def test_a_wrong_number_of_rows_is_an_error_with_the_positions():
    lazy = Watched(VALUES[:2])
    with pytest.raises(ArgumentValueError, match=r"asked for 4 rows.*\[0, 1, 2, 3\]"):
        Dataset.from_arrays(Rows, x=lazy).next_batch(4)


def test_a_read_in_a_worker_that_fails_says_where(file, tmp_path):
    pipeline = Dataset.from_arrays(Rows, x=file["deep/x"]).p
    pipeline.next_batch(2)
    (tmp_path / "rows.h5").unlink()
    with pytest.raises(ArgumentTypeError, match="it was replaced or removed"):
        next(pipeline.gen_batch(4, executor="processes", n_workers=1))


# ---- mapped arrays


@pytest.fixture
def mapped(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, VALUES)
    return np.load(path, mmap_mode="r")


VIEWS = {
    "whole": lambda a: a,
    "part": lambda a: a[3:15],
    "backwards": lambda a: a[::-2],
    "plain view": lambda a: np.asarray(a)[5:, 1:],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_of_a_mapped_array_is_reduced_to_its_place_in_the_file(mapped, view):
    opener, place = reduced_to_file(view(mapped))
    again = opener(*pickle.loads(pickle.dumps(place)))
    assert again.tolist() == view(VALUES).tolist()
    assert not again.flags.owndata


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("options", OPTIONS, ids=["direct", "shuffled", "threads", "processes"])
def test_batches_have_copies_of_the_rows_of_a_mapped_array(mapped, view, options):
    expected = view(VALUES)
    for batch in Dataset.from_arrays(Rows, x=view(mapped)).gen_batch(6, **options):
        assert batch.x.tolist() == expected[batch.indices].tolist()
        batch.x[:] = 0


def test_what_was_changed_in_memory_alone_travels_as_it_is(mapped):
    changed = np.load(mapped.filename, mmap_mode="c")
    changed[0] = 99
    assert reduced_to_file(changed) is None
    pipeline = Dataset.from_arrays(Rows, x=changed).p
    batch = next(pipeline.gen_batch(2, executor="processes", n_workers=1))
    assert batch.x[0].tolist() == [99, 99, 99]


def test_results_of_computations_on_mapped_arrays_travel_as_they_are(mapped):
    assert reduced_to_file(mapped + 1) is None
    assert reduced_to_file(mapped[[1, 2]]) is None


def test_a_worker_maps_the_file_instead_of_having_a_copy(mapped):
    import batchflow.executors.serialization.pickling as packing

    size = os.path.getsize(mapped.filename)
    dataset = Dataset.from_arrays(Rows, x=np.asarray(mapped))
    packed = packing.pack(dataset._make_batch)
    assert len(packed.payload) + sum(b.raw().nbytes for b in packed.buffers) < size + 4000
    assert packed.buffers == []
    assert VALUES.tobytes() not in packed.payload
