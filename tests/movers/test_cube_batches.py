"""A batch class for crops of cubes, whose actions change how many items a batch has.

As users of an older batchflow write one: the first action makes a batch of locations out of a batch
of one item, components are added as they come, into buffers that are made ahead.
"""

import numpy as np
import pytest
from movers.ways import WAYS, bits

from batchflow import B, Batch, Dataset, L, P, R, V, action
from batchflow.batch import apply_parallel, inbatch_parallel
from batchflow.executors.item_threads import shutdown

CUBE = np.arange(12 * 10 * 8, dtype="float32").reshape(12, 10, 8)
SHAPE = (4, 5, 6)


@pytest.fixture(autouse=True, scope="module")
def _no_pool_is_left():
    yield
    shutdown()


class Crops(Batch):
    components = "locations"

    def __init__(self, index, *args, **kwargs):
        super().__init__(index, *args, **kwargs)
        self.fields = None

    def add_components(self, components, init=None):
        """Its own: what is there may come again."""
        names = (components,) if isinstance(components, str) else tuple(components)
        new = [name for name in names if name not in self.components]
        if new:
            super().add_components(new, None)
        for name, value in zip(names, init or [None] * len(names), strict=True):
            setattr(self, name, value)
        return self

    @action
    def make_locations(self, generator, size):
        starts = generator(self.rng, size)
        new = type(self)(np.arange(len(starts)))
        new.fields = self.indices.tolist() * len(starts)
        new.locations = [
            tuple(slice(start, start + n) for start, n in zip(row, SHAPE, strict=True))
            for row in starts.tolist()
        ]
        return new

    def buffers(self, *args, dst, **kwargs):
        """Make what the calls write to, and give each its place and its part."""
        buffer = np.empty((len(self), *SHAPE), dtype="float32")
        self.add_components(dst, init=[buffer])
        return [
            {"place": place, "buffer": buffer[place], "location": location}
            for place, location in enumerate(self.locations)
        ]

    @action
    @inbatch_parallel(init="buffers", post="done", target="for", dst="images")
    def load_cubes(self, place, buffer, location, cube):
        buffer[:] = cube[location]

    def done(self, results, *args, **kwargs):
        errors = self.get_errors(results)
        if errors:
            raise errors[0]
        return self

    @apply_parallel(src="images", dst="images", target="for")
    def scale(self, image, factor=1.0, bias=0.0):
        return image * factor + bias

    @apply_parallel(src="images", p=0.5, sigma=0.1)
    def noise(self, image, sigma):
        return image + self.rng.normal(0, sigma, image.shape).astype("float32")

    @apply_parallel(src=["images", "labels"])
    def flip(self, image, axis=0):
        return np.flip(image, axis)

    @apply_parallel(init="pairs", post="assemble", src=("images", "labels"), dst="sums")
    def total(self, image, label):
        return float(image.sum() + label.sum())

    def pairs(self, src, dst):
        assert dst == "sums"
        return list(zip(*(getattr(self, name) for name in src), strict=True))

    @action
    @inbatch_parallel(init="every_image", post="keep")
    def energy(self, image):
        return float(np.square(image).mean())

    def every_image(self):
        return [*self.images]

    def keep(self, results):
        self.add_components("energies", [results])
        return self

    @action
    def cut_items(self, size):
        return self[self.indices[:size].tolist()]


def starts(rng, size):
    return rng.integers(0, np.array(CUBE.shape) - SHAPE, size=(size, 3))


def chain():
    return (
        Dataset(["field"], Crops, cube=CUBE)
        .p.init_variable("sums", init_on_each_run=list)
        .make_locations(starts, size=L(int)(R.integers(5, 9)))
        .load_cubes(cube=CUBE)
        .apply_parallel(lambda image: image > 400, src="images", dst="labels")
        .scale(0.5, bias=1.0)
        .noise()
        .flip(axis=P(R.integers(0, 3)))
        .total()
        .energy()
        .update(V("sums", "e"), B.sums)
        .call(np.mean, B.energies, save_to=B.mean_energy)
    )


NAMES = ("images", "labels", "sums", "energies", "mean_energy", "fields")


def test_the_same_bits_in_every_way():
    done = {}
    for way, options in WAYS.items():
        pipeline = chain()
        made = bits(pipeline.gen_batch(1, n_iters=5, seed=4, **options), NAMES)
        done[way] = made, pipeline.v("sums")
    assert done["threads"] == done["serial"]
    assert done["processes"] == done["serial"]
    assert len(done["serial"][0]) == 5


def test_actions_change_the_number_of_items():
    sizes = {len(batch) for batch in chain().gen_batch(1, n_iters=12, seed=1, prefetch=3)}
    assert len(sizes) > 1
    assert sizes <= {5, 6, 7, 8}


def test_components_come_as_they_are_made():
    batch = chain().next_batch(1)
    assert batch.components == ("locations", "images", "labels", "sums", "energies")
    assert Crops.components == ("locations",)
    assert batch.labels.dtype == bool
    assert [image.shape for image in batch.images] == [SHAPE] * len(batch)


def test_noise_is_on_a_share_of_the_crops():
    clean = chain().next_batch(1, seed=3)
    still = [float(image.std()) for image in clean.images]
    assert len(set(still)) > 1
    pipeline = (
        Dataset(["field"], Crops)
        .p.make_locations(starts, 200)
        .load_cubes(cube=np.zeros_like(CUBE))
        .noise(sigma=1.0)
    )
    touched = sum(bool(image.any()) for image in pipeline.next_batch(1, seed=1).images)
    assert 70 < touched < 130


@pytest.mark.parametrize("way", WAYS)
def test_added_components_go_into_parts_and_other_batches(way):
    pipeline = Dataset(["field"], Crops).p.make_locations(starts, 6).load_cubes(cube=CUBE)
    with pytest.raises(Exception, match="fields"):  # an attribute that is no component
        list(pipeline.rebatch(4).gen_batch(1, n_iters=3, **WAYS[way]))
    plain = pipeline.update(B.fields, None)
    whole = plain.next_batch(1, seed=3)
    assert np.array_equal(whole[[4, 2]].images, whole.images[[4, 2]])
    made = list(plain.rebatch(4).gen_batch(1, n_epochs=3, seed=3, **WAYS[way]))
    assert [(len(b), len(b.images), b.components[-1]) for b in made[:2]] == [
        (4, 4, "images"),
        (2, 2, "images"),
    ]
