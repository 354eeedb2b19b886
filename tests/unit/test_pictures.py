"""Pictures of objects: what is shown, and that nothing of users ends a tag or a diagram."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Batch, Dataset, DatasetIndex, V, action, model
from batchflow.errors import ArgumentTypeError
from batchflow.pictures import png

EVIL = '<script>alert("x")</script>'


class Images(ArrayBatch):
    components = "images", "names"

    @model()
    def net():
        return []

    @action
    def scale(self, factor):
        return self

    @action(model="net", singleton=True)
    def train(self, net):
        return self


def images(n=10):
    pixels = np.arange(n * 48, dtype="uint8").reshape(n, 6, 8)
    ids = [f"{i}{EVIL}" for i in range(n)]
    return Dataset.from_arrays(Images, ids, images=pixels, names=[EVIL] * n)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(obj):
    text = obj._repr_html_()
    tags = Tags(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert EVIL not in text
    return text


def test_a_batch_shows_shapes_bytes_and_thumbnails():
    text = checked(images().next_batch(9))
    assert "uint8 (9, 6, 8)" in text
    assert "432 B" in text
    assert text.count("<img") == 8


def test_a_dataset_a_pipeline_and_a_run():
    dataset = images()
    dataset.split(0.8)
    assert "8 items" in checked(dataset)
    pipeline = dataset.p.init_variable("a", 1).scale(EVIL).train()
    assert "ordered section" in checked(pipeline)
    assert "2 batches" in checked(pipeline.gen_batch(5))
    assert checked(Dataset(10**9))


def test_ragged_and_missing_components_are_shown():
    class Loose(ArrayBatch):
        components = "a", "b"

    batch = Loose(3)
    batch.a = np.array([[1], "x", None], dtype=object)
    assert "object (3,)" in checked(batch)


class Hostile:
    """What users have in batches may be anything."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __len__(self):
        raise RuntimeError("no length")

    shape = nbytes = property(__repr__)


def test_values_that_cannot_be_looked_at_are_shown_by_their_class():
    batch = Batch(DatasetIndex(3))
    batch.data = Hostile()
    assert "Hostile" in checked(batch)
    pipeline = images().p.scale(Hostile())
    assert "scale(&lt;Hostile&gt;)" in checked(pipeline)
    assert "Hostile" in pipeline.to_mermaid()


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((3, 0, 5)),
        np.full((3, 8, 8), np.nan),
        np.array([[[1e308, -1e308] * 4] * 8] * 3),
        np.zeros((3, 8, 8, 3), "c8"),
        np.ma.masked_all((3, 8, 8)),
        np.zeros(3, [("a", "i4")]),
        np.array(5.0),
        "text",
    ],
)
def test_odd_arrays_are_shown(value):
    batch = Batch(DatasetIndex(3))
    batch.data = value
    checked(batch)


def test_a_class_with_an_evil_name_is_escaped():
    evil = Dataset.from_arrays(type(EVIL, (Images,), {}), images=np.zeros((3, 6, 8)), names=[1] * 3)
    for thing in (evil, evil.next_batch(2), evil.p.scale(1), evil.p.gen_batch(2)):
        checked(thing)


def test_a_diagram_has_steps_section_regroupings_models_and_nothing_of_users_ends_it():
    pipeline = images().p.scale(f'{EVIL}"];').rebatch(3).train().update(V("n"), B.names)
    pipeline = pipeline.init_variable("n", 0).merge(images())
    text = pipeline.to_mermaid()
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    assert re.search(r's1\{\{"rebatch\(3\)"\}\}', text)
    assert lines.index(
        '    subgraph section["ordered section: one batch at a time"]'
    ) < lines.index("    end")
    assert '[("net")]' in text
    assert EVIL not in text
    assert all(line.count('"') in (0, 2) for line in lines)
    with pytest.raises(ArgumentTypeError):
        type(pipeline)().scale(1).to_mermaid()


def test_a_profile_colours_the_steps():
    pipeline = images().p.scale(1).do_nothing()
    with pytest.raises(ArgumentTypeError, match="profile is what"):
        pipeline.to_mermaid(True)
    text = pipeline.to_mermaid(pipeline.profile(3, 4))
    assert len(re.findall(r"style s[01] fill:#ff[0-9a-f]{4}", text)) == 2


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (200, 300, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bool"])
def test_a_picture_is_a_png_that_others_read(tmp_path, shape, dtype):
    image = pytest.importorskip("PIL.Image")
    array = np.random.default_rng(0).random(shape) * 255
    (tmp_path / "a.png").write_bytes(png(array.astype(dtype)))
    with image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.mode == ("RGB" if shape[-1] == 3 else "L")
        assert max(picture.size) <= 64
