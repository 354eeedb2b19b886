"""Pieces cut out of items, and items filled up to one length."""

import numpy as np
import pytest

from batchflow import ArrayBatch, Batch, C, Dataset, P, assemble_windows
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError
from batchflow.samplers import Constant, Histogram, Normal, Uniform


class Scans(ArrayBatch):
    components = "images", "masks", "labels", "places"


def scans(n=5, shape=(6, 8)):
    images = np.arange(n * np.prod(shape)).reshape(n, *shape)
    return Dataset.from_arrays(
        Scans, images=np.stack([images] * 3, axis=-1), masks=images, labels=np.arange(n)
    )


def test_masks_stay_aligned_and_each_item_gives_n_pieces():
    run = scans().p.crop((3, 2), n=4).rebatch(6).gen_batch(2, shuffle=1, seed=1)
    assert len(run) == 4
    batches = list(run)
    for batch in batches:
        assert batch.images.shape[1:] == (3, 2, 3)
        assert np.array_equal(batch.images[..., 0], batch.masks)
        assert batch.labels.tolist() == batch.source_ids.tolist()
        assert (batch.masks.min(axis=(1, 2)) // 48 == batch.labels).all()
    assert sum(map(len, batches)) == 20
    assert len({int(m[0, 0]) for b in batches for m in b.masks}) > 10


def test_the_same_pieces_at_every_parallelism_and_others_in_each_epoch():
    def masks(**options):
        run = scans().p.crop(3, n=2, src=("images", "masks")).gen_batch(2, seed=1, **options)
        return [batch.masks.tolist() for batch in run]

    assert masks(n_epochs=2) == masks(n_epochs=2, prefetch=3)
    assert masks(n_epochs=2)[3:] == masks(first_epoch=1) != masks()


def test_a_grid_covers_items_and_its_pieces_are_put_together_again():
    batch = scans(2).p.crop((4, 4), at="grid", stride=3, starts="places").next_batch(2)
    assert batch.places[:6].tolist() == [[0, 0], [0, 3], [0, 4], [2, 0], [2, 3], [2, 4]]
    whole = assemble_windows(batch.images, batch.source_ids, batch.places, weights="hann")
    assert np.allclose(whole[1], scans(2).p.next_batch(2).images[1])


def test_center_a_given_place_and_a_sampler():
    center = scans(1).p.crop((2, 2), at="center").next_batch(1)
    assert center.masks.tolist() == [[[19, 20], [27, 28]]]
    given = scans(1).p.crop((2, 2), at=(0, 6)).next_batch(1)
    assert given.masks.tolist() == [[[6, 7], [14, 15]]]
    last = scans(1).p.crop((2, 2), at=Constant([1.0, 0.0]), n=2).next_batch(1)
    assert last.masks[:, 0, 0].tolist() == [32, 32]
    drawn = scans(1).p.crop((2, 2), at=Uniform(0, 1, dim=2), n=50).next_batch(1, seed=1)
    assert {*drawn.masks[:, 0, 0]} <= {8 * y + x for y in range(5) for x in range(7)}


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"size": 9}, ArgumentValueError, "does not fit into the item 0"),
        ({"size": 0}, ArgumentValueError, "at least 1"),
        ({"size": 2.0}, ArgumentTypeError, "whole number"),
        ({"size": (1, 1, 1, 1)}, ArgumentValueError, "no component has items with 4 axes"),
        ({"size": 2, "src": "image"}, UnknownNameError, "Did you mean 'images'"),
        ({"size": 2, "at": "anywhere"}, ArgumentTypeError, "at is"),
        ({"size": (2, 2), "at": (5, 0)}, ArgumentValueError, "cannot begin at"),
        ({"size": 2, "at": Normal(4, 1)}, ArgumentValueError, "from 0 .* to 1"),
        ({"size": 2, "at": Constant(np.nan)}, ArgumentValueError, "got nan"),
        ({"size": 2, "at": P(Uniform())}, ArgumentTypeError, "without P"),
        ({"size": (2, 2), "at": Uniform(0, 1, dim=3)}, ArgumentValueError, "gives 3 numbers"),
    ],
)
def test_wrong_crops_are_refused(options, error, told):
    with pytest.raises(error, match=told):
        scans().p.crop(**options).run(2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": "a"}, "size"),
        ({"size": 2, "n": 0}, "n must be at least 1"),
        ({"size": 2, "at": "gird"}, "Did you mean 'grid'"),
        ({"size": 2, "at": [0, 0]}, "a tuple"),
        ({"size": 2, "stride": 0, "at": "grid"}, "stride"),
    ],
)
def test_wrong_crops_are_refused_before_a_batch_is_made(options, told):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=told):
        scans().p.crop(**options).gen_batch(2)


@pytest.mark.parametrize("options", [{"length": "bacth"}, {"length": 0}, {"multiple_of": 0}])
def test_wrong_padding_is_refused_before_a_batch_is_made(options):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="pad"):
        texts().p.pad("tokens", **options).gen_batch(2)


def test_the_number_of_pieces_may_be_an_expression():
    run = scans().p.crop(2, n=C("n", default=3)).gen_batch(5)
    assert len(next(run)) == 15


@pytest.mark.parametrize(
    ("starts", "lengths", "told"),
    [([0, -1], None, "-1"), ([0, 5], {0: 3}, "begins at"), ([0, 1], {1: 9}, "no record 0")],
)
def test_windows_outside_of_their_record_are_not_put_together(starts, lengths, told):
    with pytest.raises(ArgumentValueError, match=told):
        assemble_windows(np.ones((2, 3)), [0, 0], starts, lengths)


@pytest.mark.parametrize(
    ("out", "weights", "told"),
    [
        (np.ones((1, 3)), np.zeros(3), "some above it"),
        (np.ones((1, 3)), [1, np.inf, 1], "finite"),
        (np.ones((1, 3)), [1, np.nan, 1], "finite"),
        (np.ones((1, 3)), [1, 1], "the shape of a window"),
        (np.array([[1j, 2, 3]]), None, "real numbers"),
    ],
)
def test_predictions_and_weights_that_make_no_mean_are_refused(out, weights, told):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=told):
        assemble_windows(out, [0], [0], weights=weights)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(2, 1),
        lambda: Normal(0, -1),
        lambda: Uniform().truncate(low=0.5, high=0.2),
        lambda: Uniform(dim=2).truncate(low=[0, 0.5], high=0.2),
    ],
)
def test_distributions_that_are_none_are_refused(make):
    with pytest.raises(ArgumentValueError):
        make()


def test_samplers_draw_from_a_generator_and_take_numbers_on_both_sides():
    with pytest.raises(ArgumentTypeError, match=r"batch\.rng"):
        Uniform().sample(3, 7)
    points = (10 - 2 * Uniform(1, 2)).sample(50, np.random.default_rng(0))
    assert 6 <= points.min() < points.max() <= 8
    assert repr(Uniform(0, 1)) == "Uniform([0], [1], 1)" != repr(Uniform(0, 2))


class Texts(Batch):
    components = "tokens", "targets", "mask"


def texts(lengths=(2, 5, 1), kind=list):
    column = np.empty(len(lengths), dtype=object)
    column[:] = [kind(range(1, n + 1)) for n in lengths]
    return Dataset.from_arrays(Texts, tokens=column, targets=column.copy())


@pytest.mark.parametrize("kind", [list, lambda r: np.array(r, dtype="int16")])
def test_items_are_filled_up_to_the_longest_of_the_batch(kind):
    batch = texts(kind=kind).p.pad("tokens", mask="mask", value=-1).next_batch(3)
    assert batch.tokens.tolist() == [[1, 2, -1, -1, -1], [1, 2, 3, 4, 5], [1, -1, -1, -1, -1]]
    assert batch.mask.sum(axis=1).tolist() == [2, 5, 1]
    assert batch.tokens.dtype == (np.int64 if kind is list else np.int16)


def test_items_without_elements_change_no_dtype():
    for lengths in ((0, 2), (0, 0)):
        batch = texts(lengths).p.pad("tokens", 3, mask="mask").next_batch(2)
        assert batch.tokens.dtype == np.int64
        assert batch.tokens.shape == (2, 3)
        assert batch.mask.sum(axis=1).tolist() == [*lengths]


def test_an_error_names_the_item_and_gives_no_hint_that_is_wrong():
    with pytest.raises(ArgumentValueError, match="more than 4") as e:
        texts().p.pad("tokens", 4).run(3)
    assert not any("B.tokens" in note for note in e.value.__notes__)


def test_to_a_length_or_a_multiple_and_several_components():
    pipeline = texts().p.pad(("tokens", "targets"), multiple_of=4)
    batch = pipeline.next_batch(3)
    assert batch.tokens.shape == batch.targets.shape == (3, 8)
    assert texts().p.pad("tokens", 6).next_batch(2).tokens.shape == (2, 6)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"src": "tokens", "length": 4}, ArgumentValueError, "the item 1 of 'tokens' has 5"),
        ({"src": "token"}, UnknownNameError, "Did you mean 'tokens'"),
        ({"src": "tokens", "value": 0.5}, ArgumentValueError, "no value of 'tokens'"),
        ({"src": "tokens", "multiple_of": 0}, ArgumentValueError, "at least 1"),
        ({"src": "tokens", "value": None}, ArgumentValueError, "no value of 'tokens'"),
        ({"src": "tokens", "length": "longest"}, ArgumentTypeError, 'length is "batch" or'),
        ({"src": "tokens", "length": (8, 8)}, ArgumentTypeError, 'length is "batch" or'),
        ({"src": "tokens", "mask": "tokens"}, ArgumentValueError, "mask another one"),
        ({"src": ()}, ArgumentValueError, "names components"),
    ],
)
def test_wrong_padding_is_refused(options, error, told):
    with pytest.raises(error, match=told):
        texts().p.pad(**options).run(3)


# ---- samplers


def draw(sampler, n=4000):
    return sampler.sample(n, np.random.default_rng(1))


def test_distributions_have_their_means_and_their_bounds():
    assert draw(Uniform(2, [3, 5])).mean(axis=0) == pytest.approx([2.5, 3.5], abs=0.05)
    assert draw(Normal([1, -1], 2)).std(axis=0) == pytest.approx([2, 2], abs=0.1)
    points = draw(Histogram([1, 0, 3], [0, 1, 2, 4]))
    assert ((points < 1) | (points >= 2)).all()
    assert (points >= 2).mean() == pytest.approx(0.75, abs=0.03)
    counts, edges = np.histogramdd(draw(Normal(0, 1, dim=2)), bins=8)
    assert draw(Histogram(counts, edges)).mean(axis=0) == pytest.approx([0, 0], abs=0.1)


def test_samplers_are_combined_transformed_and_cut():
    both = draw(Uniform(0, 1) & Constant(7))
    assert both.shape == (4000, 2)
    assert {*both[:, 1]} == {7}
    mixed = draw(0.25 & Constant(1) | 0.75 & Constant(5))
    assert mixed.mean() == pytest.approx(4, abs=0.1)
    assert draw((Uniform(0, 1) * 2 + 3).apply(np.floor)).max() == 4
    cut = draw(Normal(0, 1, dim=2).truncate(high=1, expr=lambda p: (p**2).sum(axis=1)))
    assert (cut**2).sum(axis=1).max() <= 1
    with pytest.raises(ArgumentValueError, match="hardly any"):
        draw(Uniform(0, 1).truncate(low=2))
    with pytest.raises(ArgumentValueError, match="cannot be mixed"):
        Uniform(0, 1) | Uniform(0, 1, dim=2)


def test_a_sampler_in_a_chain_gives_a_point_for_each_item():
    pipeline = scans(3).p.call(lambda points: list(points), P(Uniform(0, 1)), save_to=None)
    seen = []
    chain = scans(3).p.call(lambda points: seen.append(list(points)), P(Uniform(0, 1)))
    chain.run(3, seed=1, n_epochs=2)
    chain.run(3, seed=1, n_epochs=2, prefetch=2)
    assert seen[:2] == seen[2:]
    assert len({*seen[0], *seen[1]}) == 6
    del pipeline
