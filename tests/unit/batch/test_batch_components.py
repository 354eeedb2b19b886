"""Components, items, data, randomness and constructors of batches."""

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    Batch,
    Dataset,
    DatasetIndex,
    UnknownAttributeError,
    UnknownNameError,
    action,
)


class Scans(Batch):
    components = "images", "labels"

    @action
    def touch(self):
        return self


def scans():
    batch = Scans(["a", "b", "c"])
    batch.images = np.arange(6).reshape(3, 2)
    batch.labels = ["x", "y", "z"]
    return batch


# ---- declaring


@pytest.mark.parametrize("declared", ["images", ("images",), ["images"]], ids=repr)
def test_components_are_a_tuple_of_names(declared):
    assert type("One", (Batch,), {"components": declared}).components == ("images",)


def test_a_class_without_components_has_none():
    assert Batch.components == ()


def test_components_are_inherited():
    assert type("Child", (Scans,), {}).components == ("images", "labels")


def test_a_subclass_may_declare_others():
    assert type("Child", (Scans,), {"components": "masks"}).components == ("masks",)


@pytest.mark.parametrize(
    "name",
    [
        "data",
        "index",
        "indices",
        "rng",
        "pipeline",
        "dataset",
        "models",
        "number",
        "epoch",
        "run",
        "components",
        "get_model_by_name",
        "_private",
        "__len__",
    ],
)
def test_a_component_cannot_have_a_name_that_every_batch_has(name):
    with pytest.raises(ArgumentValueError, match=f"{name!r}"):
        type("Bad", (Batch,), {"components": (name,)})


@pytest.mark.parametrize("name", ["two words", "", "1st", 5, None], ids=repr)
def test_a_component_is_an_attribute_name(name):
    with pytest.raises(ArgumentTypeError, match=r"Bad\.components is a tuple of attribute names"):
        type("Bad", (Batch,), {"components": (name,)})


@pytest.mark.parametrize("declared", [5, None], ids=repr)
def test_components_that_are_no_names_are_refused_in_words(declared):
    with pytest.raises(ArgumentTypeError, match=r"Bad\.components"):
        type("Bad", (Batch,), {"components": declared})


def test_a_component_cannot_be_named_twice():
    with pytest.raises(ArgumentValueError, match="twice"):
        type("Bad", (Batch,), {"components": ("images", "images")})


# ---- reading and writing


def test_components_are_attributes():
    assert scans().labels == ["x", "y", "z"]


def test_a_component_without_data_is_none():
    assert Scans(3).images is None


def test_components_of_two_batches_are_separate():
    one, two = Scans(3), Scans(3)
    one.images = 1
    assert two.images is None


def test_data_of_a_batch_with_components_is_a_tuple_of_them():
    batch = scans()
    assert batch.data == (batch.images, batch.labels)


@pytest.mark.parametrize("given", [(1, 2), [1, 2], {"labels": 2, "images": 1}], ids=repr)
def test_data_of_a_batch_with_components_can_be_written_at_once(given):
    batch = Scans(3)
    batch.data = given
    assert (batch.images, batch.labels) == (1, 2)


@pytest.mark.parametrize("given", [(1,), (1, 2, 3), 5, "ab"], ids=repr)
def test_data_that_does_not_fit_the_components_is_refused(given):
    with pytest.raises(ArgumentTypeError, match=r"\('images', 'labels'\)"):
        Scans(3).data = given


def test_data_with_an_unknown_component_is_refused():
    with pytest.raises(ArgumentValueError, match="imges"):
        Scans(3).data = {"imges": 1, "labels": 2}


def test_data_of_a_batch_without_components_is_what_was_put_there():
    batch = Batch(2)
    batch.data = ["p", "q"]
    assert batch.data == ["p", "q"]


def test_underscore_data_is_data():
    batch = Batch(2)
    batch._data = [1, 2]
    assert batch.data == [1, 2]


def test_a_batch_without_data_is_fine():
    assert Batch(["a", "b"]).data is None


def test_an_unknown_component_is_an_attribute_error_that_knows_the_right_one():
    with pytest.raises(AttributeError, match="'images'"):
        _ = scans().imges


# ---- items


def test_an_item_is_found_by_its_id():
    assert scans()["b"].labels == "y"


def test_an_item_is_found_by_id_and_not_by_position():
    batch = Scans([10, 0, 20])
    batch.labels = ["p", "q", "r"]
    assert batch[0].labels == "q"


def test_an_item_writes_through_to_the_batch():
    batch = scans()
    batch["b"].labels = "new"
    assert batch.labels == ["x", "new", "z"]


def test_an_item_writes_through_to_an_array():
    batch = scans()
    batch["c"].images = 7
    assert batch.images.tolist() == [[0, 1], [2, 3], [7, 7]]


def test_an_item_writes_through_in_place():
    batch = scans()
    batch["a"].images += 10
    assert batch.images[0].tolist() == [10, 11]


def test_an_item_sees_what_is_written_to_the_batch_later():
    batch = scans()
    item = batch["a"]
    batch.labels = ["later", 0, 0]
    assert item.labels == "later"


@pytest.mark.parametrize("touch", [lambda i: i.imges, lambda i: setattr(i, "imges", 1)])
def test_an_unknown_component_of_an_item_is_an_error_with_the_right_name(touch):
    with pytest.raises(UnknownAttributeError, match=r"'imges'.*Did you mean 'images'"):
        touch(scans()["a"])


@pytest.mark.parametrize("touch", [lambda i: i.images, lambda i: setattr(i, "images", 1)])
def test_a_component_of_an_item_without_data_is_an_error_in_words(touch):
    with pytest.raises(AttributeError, match=r"'images'.*no data yet"):
        touch(Scans(3)[0])


def test_an_unknown_id_is_a_key_error_that_tells_the_ids():
    with pytest.raises(UnknownNameError, match=r"'q'.*\['a', 'b', 'c'\].*batch\.images\[0\]"):
        scans()["q"]


@pytest.mark.parametrize("item", [0, slice(0, 2), None], ids=repr)
def test_a_position_is_not_an_id(item):
    with pytest.raises(UnknownNameError):
        scans()[item]


def test_in_tells_which_items_are_in_the_batch():
    assert ["a" in scans(), "q" in scans()] == [True, False]


def test_iterating_gives_the_items_in_batch_order():
    assert [item.labels for item in scans()] == ["x", "y", "z"]


def test_iterated_items_write_through():
    batch = scans()
    for item in batch:
        item.images = 0
    assert not batch.images.any()


def test_items_of_a_batch_without_components_are_its_data():
    batch = Batch(["a", "b"])
    batch.data = [1, 2]
    assert (batch["b"], list(batch)) == (2, [1, 2])


def test_an_item_of_a_batch_without_components_is_written_by_id():
    batch = Batch(["a", "b"])
    batch.data = [1, 2]
    batch["b"] = 5
    assert batch.data == [1, 5]


def test_assigning_an_item_with_components_is_refused_with_the_way_to_write_it():
    with pytest.raises(ArgumentTypeError, match=r"batch\['a'\]\.images = "):
        scans()["a"] = 5


@pytest.mark.parametrize(
    "touch",
    [lambda b: b["a"], list, lambda b: b.__setitem__("a", 1)],
    ids=["get", "iterate", "set"],
)
def test_items_of_a_batch_without_data_are_refused_with_what_to_do(touch):
    with pytest.raises(ArgumentValueError, match=r"no data yet: set batch\.data"):
        touch(Batch(["a"]))


def test_dir_of_an_item_shows_the_components():
    assert {"images", "labels"} <= set(dir(scans()["a"]))


def test_len_is_the_number_of_items():
    assert len(scans()) == 3


def test_repr_shows_the_size_and_the_components():
    assert repr(scans()) == "<Scans of 3 items, components images, labels>"


# ---- what a run tells its batches


def test_a_batch_of_a_run_knows_its_place():
    batch = list(Dataset(["a", "b", "c"], Scans).p.touch().gen_batch(2, n_epochs=2))[3]
    assert (batch.number, batch.epoch, batch.indices.tolist()) == (3, 1, ["c"])


def test_a_batch_of_a_run_knows_its_dataset():
    dataset = Dataset(3, Scans)
    assert next(dataset.gen_batch(2)).dataset is dataset


def test_a_delivered_batch_knows_its_pipeline():
    pipeline = Dataset(3, Scans).p.touch()
    assert next(pipeline.gen_batch(2, prefetch=2)).pipeline is pipeline


def test_a_batch_outside_a_run_has_no_place():
    batch = Scans(3)
    assert (batch.number, batch.epoch, batch.dataset, batch.pipeline) == (None,) * 4


def test_the_index_of_a_batch_is_a_dataset_index():
    assert isinstance(Scans([1, 2]).index, DatasetIndex)


# ---- randomness


def draws(**options):
    return [b.rng.integers(2**40) for b in Dataset(8, Scans).p.touch().gen_batch(2, **options)]


def test_rng_repeats_with_the_seed():
    assert draws(seed=3) == draws(seed=3)


def test_rng_differs_from_batch_to_batch_and_epoch_to_epoch():
    assert len(set(draws(seed=3, n_epochs=5))) == 20


def test_rng_differs_from_seed_to_seed():
    assert not set(draws(seed=3)) & set(draws(seed=4))


def test_rng_is_one_generator_per_batch():
    batch = Scans(3)
    assert batch.rng is batch.rng


def test_rng_of_two_batches_outside_a_run_differ():
    assert Scans(3).rng.integers(2**60) != Scans(3).rng.integers(2**60)


def test_rng_is_there_in_the_constructor():
    class Early(Batch):
        def __init__(self, index):
            super().__init__(index)
            self.drawn = self.rng.integers(2**40)

    one, two = ([b.drawn for b in Dataset(4, Early).gen_batch(1, seed=1)] for _ in range(2))
    assert one == two


def test_rng_goes_on_in_a_batch_that_takes_the_place_of_another():
    class Replacing(Scans):
        @action
        def draw(self):
            self.rng.integers(2**40)
            return self

        @action
        def replace(self):
            return Replacing(self.index)

    pipeline = Dataset(2, Replacing).p.draw()
    expected = next(pipeline.gen_batch(2, seed=1)).rng.integers(2**40)
    assert next(pipeline.replace().gen_batch(2, seed=1)).rng.integers(2**40) == expected


def test_a_batch_that_takes_the_place_of_another_has_its_number():
    class Replacing(Scans):
        @action
        def replace(self):
            return Replacing(self.index.take([0]))

    batches = list(Dataset(6, Replacing).p.replace().gen_batch(2, n_epochs=2))
    assert [(b.number, b.epoch, len(b)) for b in batches[2:4]] == [(2, 0, 1), (3, 1, 1)]


# ---- constructors


class Passing(Batch):
    components = ("images",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = {"made": len(self)}
        self.images = None


def test_a_constructor_that_passes_everything_on_works_in_a_run():
    dataset = Dataset.from_arrays(Passing, images=np.arange(4))
    assert [(b.extra, b.images.tolist()) for b in dataset.gen_batch(3)] == [
        ({"made": 3}, [0, 1, 2]),
        ({"made": 1}, [3]),
    ]


def test_a_constructor_that_passes_everything_on_works_outside_a_run():
    assert Passing(["a"], dataset="mine").dataset == "mine"


def test_a_constructor_knows_the_number_of_its_batch():
    class Numbered(Batch):
        def __init__(self, index, **kwargs):
            super().__init__(index, **kwargs)
            self.seen = self.number

    assert [b.seen for b in Dataset(3, Numbered).gen_batch(1)] == [0, 1, 2]


def test_what_a_constructor_sets_stays():
    class Filling(Batch):
        components = "images", "masks"

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.masks = "empty"

    dataset = Dataset(2, Filling, preloaded={"images": [1, 2]})
    assert next(dataset.gen_batch(2)).masks == "empty"


def test_an_error_in_a_constructor_says_which_batch_it_was():
    class Failing(Batch):
        def __init__(self, index):
            super().__init__(index)
            if self.number == 1:
                raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        list(Dataset(["a", "b"], Failing).gen_batch(1))
    assert any("batch 1" in note and "'b'" in note for note in caught.value.__notes__)
