"""Blocks that are kept: which are read, in which calls, and what an error leaves."""

import numpy as np
import pytest
import zarr
from kit import Rows

from batchflow import Dataset, Shuffle
from batchflow.sources.kept import with_kept_blocks
from batchflow.sources.zarr import ZarrSource

N = 100


class Source:
    """Rows in blocks of 8, of which the last is short."""

    blocks = 8

    def __init__(self):
        self.reads = []

    def __len__(self):
        return N

    def read(self, positions):
        self.reads.append(positions.tolist())
        return {"x": positions * 10}


class Together(Source):
    """Several blocks at once; from `fails_at` on it leaves wrong rows and gives up."""

    def __init__(self, fails_at=9**9):
        super().__init__()
        self.calls, self.fails_at = [], fails_at

    def read_into(self, runs, into):
        self.calls.append([run.start // 8 for run in runs])
        for run, places in zip(runs, into, strict=True):
            assert len(places["x"]) == run.stop - run.start
            places["x"][:] = np.arange(run.start, run.stop) * 10
            if run.start // 8 >= self.fails_at:
                places["x"][:] = -1
                return False
        return True

    def read(self, positions):
        if positions[0] // 8 >= self.fails_at:
            raise OSError("lost")
        return super().read(positions)


def test_any_reads_give_the_rows_of_the_source_and_few_blocks_are_read_again():
    rng = np.random.default_rng(0)
    for make in (Source, Together):
        source = make()
        kept = with_kept_blocks(source, 4)
        for _ in range(500):
            first = int(rng.integers(0, 10)) * 8
            positions = rng.permutation(np.arange(first, min(first + 32, N)))[: rng.integers(1, 20)]
            assert kept.read(positions)["x"].tolist() == (positions * 10).tolist()


@pytest.mark.parametrize("make", [Source, Together])
def test_each_block_of_a_window_is_read_once(make):
    source = make()
    dataset = Dataset(N, Rows, source=source)
    found = [b.x.tolist() for b in dataset.gen_batch(5, shuffle=Shuffle(window=3), seed=1)]
    assert sorted(x for batch in found for x in batch) == list(range(0, 10 * N, 10))
    calls = [first // 8 for first, *_ in source.reads]
    calls += [block for call in getattr(source, "calls", ()) for block in call]
    assert sorted(calls) == list(range(13))


def test_blocks_are_read_three_at_once_where_the_source_can():
    source = Together()
    kept = with_kept_blocks(source, 9)
    kept.read(np.arange(72))
    assert [len(source.reads), [len(call) for call in source.calls]] == [1, [3, 3, 2]]


def test_an_error_leaves_nothing_wrong_among_the_blocks():
    source = Together(fails_at=9)
    kept = with_kept_blocks(source, 4)
    kept.read(np.arange(32))
    for _ in range(2):
        with pytest.raises(OSError, match="lost"):
            kept.read(np.arange(64, 96))
    assert kept.read(np.arange(32))["x"].tolist() == list(range(0, 320, 10))
    source.fails_at = 9**9
    assert kept.read(np.arange(64, 96))["x"].tolist() == list(range(640, 960, 10))


# The lowest Zarr that is allowed, 3.1.3, cannot do it.
SIDE_BY_SIDE = hasattr(zarr.Array, "async_array") and hasattr(
    zarr.AsyncArray, "get_orthogonal_selection"
)
ARRAYS = {
    "numbers": (np.arange(N * 3.0).reshape(N, 3), {}),
    "big endian": (np.arange(N, dtype=">i4"), {}),
    "bools": (np.arange(N) % 3 == 0, {}),
    "texts": (np.array([f"t{k}" for k in range(N)]), {}),
    "long texts": (
        np.array([f"t{k}" * (k % 7) for k in range(N)], dtype=np.dtypes.StringDType()),
        {},
    ),
    "dates": (np.arange(N).astype("M8[s]"), {}),
    "without filters": (np.arange(N * 6).reshape(N, 2, 3), {"compressors": None}),
    "sharded": (np.arange(N * 3).reshape(N, 3), {"shards": (16, 3), "chunks": (8, 3)}),
}


@pytest.mark.filterwarnings("ignore:.*Zarr V3 specification")
@pytest.mark.parametrize("kind", ARRAYS)
def test_zarr_gives_the_same_rows_side_by_side(tmp_path, kind):
    values, options = ARRAYS[kind]
    options = {"chunks": (8, *values.shape[1:])} | options
    zarr.open_group(tmp_path / "z", mode="w").create_array("x", data=values, **options)
    source = ZarrSource(tmp_path / "z", {"x": "x"})
    some = source.read(np.arange(8))["x"]
    into = {"x": np.zeros_like(some)}
    assert source.read_into([slice(8, 16)], [into]) is SIDE_BY_SIDE
    assert not SIDE_BY_SIDE or into["x"].tolist() == values[8:16].tolist()
    kept = with_kept_blocks(source, 6)
    for first in (0, 40, 56):
        positions = np.random.default_rng(first).permutation(np.arange(first, first + 44))
        found, alone = kept.read(positions)["x"], source.read(positions)["x"]
        assert (found.dtype, found.tolist()) == (alone.dtype, alone.tolist())
        assert found.tolist() == values[positions].tolist()


def test_a_chunk_of_zarr_that_cannot_be_read_says_where(tmp_path):
    group = zarr.open_group(tmp_path / "z", mode="w")
    group.create_array("x", data=np.arange(N), chunks=(8,))
    (tmp_path / "z" / "x" / "c" / "9").write_bytes(b"broken")
    pipeline = Dataset.from_zarr(tmp_path / "z", Rows, x="x").p
    with pytest.raises(Exception, match=r"z: x was read, at the positions \[72, 73"):
        pipeline.run(5, shuffle=Shuffle(window=5), seed=1)
