"""A batch class for recordings of different lengths, as users of an older batchflow write one.

It is called with an index and data, reads files by a function, takes labels from a table, drops
items, works on items in threads with its own `post`, and merges by itself.
"""

import numpy as np
import pandas as pd
import pytest
from movers.ways import WAYS, bits

from batchflow import (
    ArgumentValueError,
    B,
    Batch,
    Dataset,
    F,
    FilesIndex,
    SkipBatch,
    V,
    action,
)
from batchflow.batch import any_action_failed, inbatch_parallel
from batchflow.executors.item_threads import shutdown

NAMES = [f"rec_{number}" for number in (1, 2, 10, 11, 3, 20, 21, 4)]
CLASSES = dict(zip(NAMES, "ANAONANA", strict=True))


@pytest.fixture(autouse=True, scope="module")
def _no_pool_is_left():
    yield
    shutdown()


class Recordings(Batch):
    components = "signal", "meta", "target"

    def __init__(self, index, preloaded=None):
        super().__init__(index, preloaded)

    @action
    def load(self, src=None, fmt=None, components=None, **kwargs):
        if fmt == "rec":
            return self._read(**kwargs)
        if components == "target" and hasattr(src, "loc"):
            self.target = src[self.indices].to_numpy()
            return self
        return super().load(src, fmt, components)

    @inbatch_parallel(init="indices", post="put_together", target="threads")
    def _read(self, index, scale=1):
        path = self.index.get_fullpath(index)
        return np.load(path) * scale, {"frequency": 100, "file": index}

    def put_together(self, results, *args, **kwargs):
        if any_action_failed(results):
            raise RuntimeError("could not be read") from self.get_errors(results)[0]
        signals, meta = zip(*results, strict=True)
        self.signal = self._objects(signals)
        self.meta = self._objects(meta)
        return self

    @staticmethod
    def _objects(parts):
        array = np.empty(len(parts), dtype=object)
        for place, part in enumerate(parts):
            array[place] = part
        return array

    @action
    @inbatch_parallel(init="indices", target="threads")
    def convolve(self, index, kernel):
        i = self.get_pos(None, "signal", index)
        self.signal[i] = np.stack(
            [np.convolve(c, kernel, "same") for c in self.get(index, "signal")]
        )

    @action
    @inbatch_parallel(init="indices", target="threads")
    def add_noise(self, index, sigma):
        i = self.get_pos(None, "signal", index)
        self.signal[i] = self.signal[i] + self.rng.normal(0, sigma, self.signal[i].shape)

    @action
    @inbatch_parallel(init="indices", post="keep_those")
    def drop_short(self, index, length):
        return self.get(index, "signal").shape[1] >= length

    def keep_those(self, results, *args, **kwargs):
        return self._kept(np.array(results, dtype=bool))

    @action
    def drop_labels(self, labels):
        return self._kept(~np.isin(self.target, labels))

    def _kept(self, mask):
        if not mask.any():
            raise SkipBatch
        new = type(self)(self.indices[mask])
        new.data = tuple(None if part is None else part[mask] for part in self.data)
        return new

    @action
    def split_signals(self, length, step):
        parts = []
        for signal in self.signal:
            starts = range(0, signal.shape[1] - length + 1, step)
            parts.append(np.stack([signal[:, start : start + length] for start in starts]))
        self.signal = self._objects(parts)
        return self

    @action
    def codes(self):
        return np.searchsorted(self.dataset.unique_labels, self.target)

    @classmethod
    def merge(cls, batches):
        parts = [part for part in batches if part is not None]
        new = cls(np.concatenate([part.indices for part in parts]))
        new.data = tuple(
            np.concatenate([getattr(part, name) for part in parts]) for name in cls.components
        )
        return new, None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        np.save(folder / f"{name}.npy", rng.normal(size=(2, 20 + 10 * (number % 4))))
    return FilesIndex(str(folder / "*.npy"), no_ext=True)


@pytest.fixture
def labels():
    return pd.Series([CLASSES[name] for name in reversed(NAMES)], index=NAMES[::-1])


def chain(files, labels, cls=Recordings):
    return (
        Dataset(files, cls, unique_labels=sorted(set(CLASSES.values())))
        .p.init_variable("seen", init_on_each_run=list)
        .load(fmt="rec", scale=2)
        .load(src=labels, components="target")
        .drop_labels(["O"])
        .convolve([0.25, 0.5, 0.25])
        .add_noise(0.1)
        .drop_short(30)
        .codes(save_to=V("seen", mode="e"))
    )


@pytest.mark.parametrize("shuffle", [False, 7])
def test_the_same_bits_in_every_way(files, labels, shuffle):
    names = ("signal", "meta", "target")
    done = {}
    for way, options in WAYS.items():
        pipeline = chain(files, labels)
        batches = list(pipeline.gen_batch(3, shuffle=shuffle, n_epochs=2, seed=5, **options))
        done[way] = bits(batches, names), [int(code) for code in pipeline.v("seen")]
    assert done["threads"] == done["serial"]
    assert done["processes"] == done["serial"]
    assert len(done["serial"][0]) >= 4


def test_labels_of_a_table_go_to_their_recordings(files, labels):
    dropped = 0
    for batch in chain(files, labels).gen_batch(3, prefetch=2):
        assert [CLASSES[name] for name in batch.indices] == batch.target.tolist()
        assert [meta["file"] for meta in batch.meta] == batch.indices.tolist()
        assert all(signal.shape[1] >= 30 for signal in batch.signal)
        dropped += len(batch)
    assert dropped < len(NAMES)


def test_the_plain_load_takes_labels_by_their_index_too(files, labels):
    batch = Dataset(files, Recordings).p.load(src=labels, components="target").next_batch(8)
    again = Dataset(files, Recordings, preloaded={"target": labels}).next_batch(8)
    plain = batch.load(labels.to_dict(), components="target").target
    assert [CLASSES[name] for name in batch.indices] == again.target.tolist() == list(plain)


@pytest.mark.parametrize("way", WAYS)
def test_a_merge_of_its_own_makes_other_batches(files, labels, way):
    pipeline = chain(files, labels).rebatch(2)
    batches = list(pipeline.gen_batch(3, seed=5, **WAYS[way]))
    single = list(chain(files, labels).gen_batch(3, seed=5))
    expected = [name for batch in single for name in batch.indices.tolist()]
    assert [name for batch in batches for name in batch.indices.tolist()] == expected
    assert [len(batch) for batch in batches][:-1] == [2] * (len(batches) - 1)
    assert all(batch.signal[0].shape[0] == 2 for batch in batches)
    assert all(batch.dataset.unique_labels == ["A", "N", "O"] for batch in batches)


def test_segments_and_a_model_that_trains(files, labels):
    class Scale:
        def __init__(self, width):
            self.width, self.seen = width, 0

        def train(self, x, y):
            assert x.shape[1:] == (2, self.width)
            self.seen += len(x)
            return len(y)

    def make_data(batch):
        x = np.concatenate(batch.signal)
        return {"x": x, "y": np.repeat(batch.target, [len(part) for part in batch.signal])}

    pipeline = (
        chain(files, labels)
        .split_signals(10, 5)
        .init_model("scale", Scale, "dynamic", {"width": B.signal[0].shape[-1]})
        .update(B.made, F(make_data)(B()))
        .train_model("scale", B.made["x"], B.made["y"])
    )
    assert pipeline.run(len(pipeline), prefetch=2).m("scale").seen > 10


def test_an_item_that_cannot_be_read_ends_the_run(files, labels, tmp_path):
    (tmp_path / "bad.npy").write_text("no array")
    bad = Dataset(FilesIndex(str(tmp_path / "*.npy"), no_ext=True), Recordings)
    with pytest.raises(RuntimeError, match="could not be read"):
        bad.p.load(fmt="rec").run(1, prefetch=2)


def test_an_attribute_that_other_batches_would_lose_is_named(files, labels):
    class Keeps(Recordings):
        @action
        def note(self):
            self.label_counts = {name: list(self.target).count(name) for name in "AN"}
            return self

    pipeline = chain(files, labels, Keeps).note().rebatch(2)
    with pytest.raises(ArgumentValueError, match="label_counts"):
        list(pipeline.gen_batch(3))
