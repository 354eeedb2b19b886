"""A batch class for volumes: actions per item in several kinds, patches, masks of nodules.

As users of an older batchflow write one: volumes of all items lie in one array, of which each item
has a part between bounds; actions give new batches; methods are `init` and `post` of others.
"""

import asyncio

import numpy as np
import pytest
from movers.ways import WAYS, bits

from batchflow import B, Batch, Dataset, P, R, action
from batchflow.batch import inbatch_parallel
from batchflow.executors.item_threads import shutdown

SHAPES = [(4, 6, 6), (6, 6, 6), (5, 6, 6), (4, 6, 6), (7, 6, 6), (6, 6, 6)]


@pytest.fixture(autouse=True, scope="module")
def _no_pool_is_left():
    yield
    shutdown()


class Scans(Batch):
    components = "images", "masks", "spacing", "origin"

    def __init__(self, index, *args, **kwargs):
        super().__init__(index, *args, **kwargs)
        self._bounds = None
        self.nodules = None

    @property
    def lower_bounds(self):
        return self._bounds[:-1]

    @property
    def upper_bounds(self):
        return self._bounds[1:]

    def get_pos(self, data, component, index):
        """Its own: items are slices of one array."""
        place = self.index.get_pos(index)
        if component in ("spacing", "origin"):
            return place
        return slice(self.lower_bounds[place], self.upper_bounds[place])

    def get(self, item, component):
        """Its own, too."""
        return getattr(self, component)[self.get_pos(None, component, item)]

    @action
    @inbatch_parallel(init="indices", post="stack_volumes", target="async")
    async def read(self, index, volumes):
        await asyncio.sleep(0)
        return volumes[index]

    def stack_volumes(self, results, *args, **kwargs):
        errors = self.get_errors(results)
        if errors:
            raise errors[0]
        self._bounds = np.cumsum([0, *(len(volume) for volume in results)])
        self.images = np.concatenate(results)
        self.masks = np.zeros_like(self.images)
        if self.spacing is None:
            self.spacing, self.origin = np.ones((len(self), 3)), np.zeros((len(self), 3))
        return self

    def volumes_and_spacing(self, *args, **kwargs):
        return [
            {"volume": self.get(i, "images"), "spacing": self.get(i, "spacing")}
            for i in self.indices
        ]

    @action
    @inbatch_parallel(init="volumes_and_spacing", post="stack_resized", target="threads")
    def thin(self, volume, spacing, step):
        return volume[::step], spacing * [step, 1, 1]

    def stack_resized(self, results, *args, **kwargs):
        volumes, spacing = zip(*results, strict=True)
        new = type(self)(self.index)
        new.stack_volumes(volumes)
        new.spacing = np.stack(spacing)
        new.nodules = self.nodules
        return new

    @action
    @inbatch_parallel(init="indices", target="threads", update=False)
    def normalise(self, index, low, high):
        part = self.get(index, "images")
        np.clip(part, low, high, out=part)
        part -= low

    @action
    @inbatch_parallel(init="indices", post="stack_volumes")
    def roll(self, index, by, axis=0):
        return np.roll(self.get(index, "images"), by, axis) + self.rng.normal(0, 0.01)

    @action
    def fetch_nodules(self, nodules):
        self.nodules = [(i, z, y, x) for i in self.indices.tolist() for z, y, x in nodules[i]]
        return self

    @action
    def create_mask(self, radius=1):
        for i, z, y, x in self.nodules:
            part = self.get(i, "masks")
            near = tuple(slice(max(0, c - radius), c + radius + 1) for c in (z, y, x))
            part[near] = 1
        return self

    @action
    def patches(self, shape):
        found = []
        for place in range(len(self)):
            low, high = self.lower_bounds[place], self.upper_bounds[place]
            for z in range(low, high - shape[0] + 1, shape[0]):
                cut = slice(z, z + shape[0]), slice(0, shape[1]), slice(0, shape[2])
                found.append((self.images[cut], self.masks[cut]))
        return tuple(np.stack(parts) for parts in zip(*found, strict=True))

    @action
    def sample_nodules(self, count, shape):
        cuts = [
            self.get(i, "images")[: shape[0], : shape[1], : shape[2]]
            for i in self.rng.choice(self.indices, count)
        ]
        samples = type(self)(np.arange(count))
        return samples.stack_volumes(cuts)


def data():
    rng = np.random.default_rng(3)
    volumes = {f"ct_{i}": rng.normal(size=shape) for i, shape in enumerate(SHAPES)}
    nodules = {name: [(1, 2, 3)] * (i % 3) for i, name in enumerate(volumes)}
    return volumes, nodules


def chain():
    volumes, nodules = data()
    return (
        Dataset([*volumes], Scans)
        .p.read(volumes)
        .thin(step=2)
        .normalise(-1.0, 1.0)
        .roll(P(R.integers(0, 3)))
        .fetch_nodules(nodules)
        .create_mask()
        .patches((2, 3, 3), save_to=[B.x, B.y])
    )


NAMES = ("images", "masks", "spacing", "origin", "x", "y", "nodules", "_bounds")


@pytest.mark.parametrize("shuffle", [False, 11])
def test_the_same_bits_in_every_way(shuffle):
    done = {
        way: bits(chain().gen_batch(2, shuffle=shuffle, seed=9, **options), NAMES)
        for way, options in WAYS.items()
    }
    assert done["threads"] == done["serial"]
    assert done["processes"] == done["serial"]
    assert len(done["serial"]) == 3


def test_masks_lie_where_the_nodules_are():
    for batch in chain().gen_batch(3, prefetch=2):
        for i in batch.indices:
            expected = any(name == i for name, *_ in batch.nodules)
            assert bool(batch.get(i, "masks").any()) == expected


def test_patches_of_images_and_masks_belong_together():
    batch = chain().next_batch(6)
    assert batch.x.shape == batch.y.shape
    assert batch.x.shape[1:] == (2, 3, 3)
    assert batch.spacing.tolist() == [[2.0, 1.0, 1.0]] * 6
    assert set(np.unique(batch.y)) == {0.0, 1.0}


@pytest.mark.parametrize("way", WAYS)
def test_an_action_may_sample_another_batch(way):
    sampled = chain().sample_nodules(4, (2, 3, 3))
    made = list(sampled.gen_batch(3, seed=2, **WAYS[way]))
    expected = list(sampled.gen_batch(3, seed=2, executor="serial"))
    assert bits(made, ("images", "spacing")) == bits(expected, ("images", "spacing"))
    assert [len(batch) for batch in made] == [4, 4]


def test_the_error_of_an_item_is_raised():
    volumes, _ = data()
    del volumes["ct_3"]
    with pytest.raises(KeyError, match="ct_3"):
        Dataset([f"ct_{i}" for i in range(6)], Scans).p.read(volumes).run(3, prefetch=2)
