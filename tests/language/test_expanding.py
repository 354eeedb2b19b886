"""Actions that make several items of one, or batches of another class."""

import numpy as np
import pytest

from batchflow import ArrayBatch, Batch, Dataset, action, model
from batchflow.errors import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    UnknownAttributeError,
    UnknownNameError,
)


class Patches(ArrayBatch):
    components = "images", "labels"

    @model()
    def seen():
        return []

    @action
    def negate(self):
        self.images = -self.images
        return self

    @action(model="seen", singleton=True)
    def see(self, seen):
        seen.append(self.source_ids.tolist())
        return self

    @classmethod
    def merge(cls, batches):
        merged = super().merge(batches)
        merged.images = merged.images + 1000
        return merged


class Others(ArrayBatch):
    components = "images"


class Images(ArrayBatch):
    components = "images", "labels"

    @action(expands=2)
    def halves(self):
        return self.repeat(2, images=self.images.reshape(2 * len(self), -1))

    @action(expands=2)
    def by_hand(self):
        twice = Images(2 * len(self))
        twice.images = np.repeat(self.images, 2, axis=0)
        return twice

    @action(expands=True)
    def as_often_as_labels(self):
        return self.repeat(self.labels)

    @action(expands=2, gives=Patches)
    def patches(self):
        return self.repeat(2, Patches, images=self.images.reshape(2 * len(self), -1))

    @action(expands=3)
    def wrong(self):
        return self.repeat(4)

    @action(gives=Patches)
    def of_no_other_class(self):
        return self

    @action(expands=1)
    def wrong_one(self):
        return self.repeat(2)

    @action(gives=Patches)
    def halves_of_rows(self):
        return self.repeat(2, Patches)

    @action(gives=Patches)
    def as_patches(self):
        patches = Patches(len(self))
        patches.images = self.images
        return patches

    @action
    def undeclared(self):
        return self.repeat(1, Others)

    @action(expands=True)
    def unknown_origin(self):
        return Images(len(self) + 1)

    @action(expands=True)
    def named(self):
        return Images([f"{i}/{k}" for i in self.indices for k in range(3)])


def images(n=7, cls=Images):
    return Dataset.from_arrays(cls, images=np.arange(4 * n).reshape(n, 4), labels=np.arange(n))


def ids(run):
    return [batch.source_ids.tolist() for batch in run]


def test_each_item_gives_k_and_source_ids_tell_which():
    first, *_ = images().p.halves().gen_batch(3, shuffle=1)
    order = first.source_ids[::2]
    assert first.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert first.source_ids.tolist() == np.repeat(order, 2).tolist()
    assert first.labels.tolist() == first.source_ids.tolist()
    assert first.images[:, 0].tolist() == [4 * i + 2 * k for i in order for k in (0, 1)]


def test_a_batch_made_by_hand_is_told_where_its_items_come_from():
    assert ids(images(4).p.by_hand().by_hand().gen_batch(3)) == [
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
        [3, 3, 3, 3],
    ]


def test_behind_a_known_number_the_length_is_known():
    pipeline = images(7).p.halves().halves().rebatch(5)
    run = pipeline.gen_batch(3, n_epochs=2)
    assert len(run) == len(list(run)) == 12
    assert len(pipeline.gen_batch(3, n_iters=4)) == len(list(pipeline.gen_batch(3, n_iters=4)))
    assert len(pipeline.gen_batch(3, drop_last=True)) == 4


def test_behind_an_unknown_number_the_length_is_a_type_error():
    run = images(7).p.as_often_as_labels().rebatch(4).gen_batch(3)
    with pytest.raises(TypeError, match="not known"):
        len(run)
    assert sum(map(len, run)) == 21


def test_without_a_regrouping_the_number_of_batches_is_known():
    assert len(images(7).p.as_often_as_labels().gen_batch(3)) == 3


def test_a_batch_of_which_no_item_is_left_is_skipped():
    assert ids(images(3).p.as_often_as_labels().gen_batch(1)) == [[1], [2, 2]]


def test_another_number_than_declared_is_an_error_that_names_action_and_items():
    with pytest.raises(
        ActionResultError, match=r"'wrong'.*makes 9 items of 3, and returned 12"
    ) as e:
        images().p.wrong().run(3)
    assert any("with the ids [0, 1, 2]" in note for note in e.value.__notes__)


def test_one_item_of_each_is_a_number_too():
    with pytest.raises(ActionResultError, match="makes 3 items of 3, and returned 6"):
        images().p.wrong_one().run(3)


def test_a_batch_of_another_class_made_by_hand_is_told_where_its_items_come_from():
    assert ids(images(5).p.as_patches().negate().gen_batch(3)) == [[0, 1, 2], [3, 4]]
    assert ids(images(5).p.halves().as_patches().gen_batch(5)) == [np.repeat(range(5), 2).tolist()]


def test_a_regrouping_of_another_class_that_no_action_declares_says_what_to_write():
    with pytest.raises(ArgumentTypeError, match=r"got a Others .*@action\(gives=Others\)"):
        images(4).p.undeclared().rebatch(3).run(2)


def test_what_comes_from_nowhere_known_has_no_source_ids_that_could_be_wrong():
    batch = images(3).p.unknown_origin().next_batch(3)
    assert batch.source_ids.tolist() == [None] * 4
    with pytest.raises(UnknownNameError):
        images(3).p.unknown_origin().load({0: 1, 1: 2}, dst="labels").run(3)


def test_ids_that_the_action_has_chosen_stay():
    assert images(1).p.named().next_batch(1).source_ids.tolist() == ["0/0", "0/1", "0/2"]


def test_actions_of_the_other_class_can_be_chained_and_rebatch_merges_as_it_does():
    Patches.models.reset("seen")
    pipeline = images(3).p.patches().negate().see().rebatch(4)
    batches = list(pipeline.gen_batch(2))
    assert [type(batch) for batch in batches] == [Patches, Patches]
    assert batches[0].images[0].tolist() == [1000, 999]
    assert Patches.models["seen"] == pipeline.m("seen") == [[0, 0, 1, 1], [2, 2]]
    with pytest.raises(UnknownAttributeError, match="Patches has no action 'halves'"):
        pipeline.halves()
    assert "negate" in dir(images().p.patches())
    assert "halves" not in dir(images().p.patches())


def test_a_chain_without_a_dataset_is_checked_when_it_gets_one():
    from batchflow import Pipeline

    piece = Pipeline().patches().negate()
    assert ids((images(2) >> piece).gen_batch(2)) == [[0, 0, 1, 1]]
    with pytest.raises(UnknownAttributeError, match="'halves'"):
        images(2) >> Pipeline().patches().halves()


def test_batches_of_another_class_than_declared_are_refused():
    with pytest.raises(ActionResultError, match=r"gives=Patches.*the class Images"):
        images().p.of_no_other_class().run(3)


def test_a_coin_cannot_decide_which_class_follows():
    from batchflow import Pipeline

    with pytest.raises(ArgumentTypeError, match="another class"):
        images() >> (Pipeline().patches() @ 0.5)


def test_two_classes_that_define_one_model_are_refused_where_it_is_used():
    class Others(Images):
        @model()
        def seen():
            return {}

    assert images(2, Others).p.patches().negate().next_batch(2)
    with pytest.raises(ArgumentValueError, match="both define a model 'seen'"):
        images(2, Others).p.patches().see().run(2)


def test_concatenated_pipelines_are_of_the_class_at_their_ends():
    other = Dataset.from_arrays(Patches, images=np.zeros((1, 2)), labels=[5])
    assert ids(images(1).p.patches().concat(other).gen_batch(1)) == [[0, 0], [0]]
    with pytest.raises(ArgumentTypeError, match="concat"):
        images(1).p.concat(images(1).p.patches()).run(1)


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"expands": 0}, ArgumentValueError, "from 1 on"),
        ({"expands": "3"}, ArgumentTypeError, "how many items"),
        ({"expands": 2.0}, ArgumentTypeError, "how many items"),
        ({"gives": "Patches"}, ArgumentTypeError, "a subclass of Batch"),
        ({"gives": int}, ArgumentTypeError, "a subclass of Batch"),
    ],
)
def test_wrong_arguments_of_the_mark_are_refused(wrong, error, told):
    with pytest.raises(error, match=told):
        action(**wrong)


@pytest.mark.parametrize(
    ("counts", "given", "error"),
    [
        (1.5, {}, ArgumentTypeError),
        (-1, {}, ArgumentValueError),
        ([1, 2, 3], {}, ArgumentValueError),
        (2, {"pictures": [1]}, UnknownNameError),
        (2, {"labels": [1]}, ArgumentValueError),
    ],
)
def test_wrong_arguments_of_repeat_are_refused(counts, given, error):
    batch = images(2).next_batch(2)
    with pytest.raises(error):
        batch.repeat(counts, **given)


def test_repeat_takes_lists_and_refuses_to_lose_an_attribute():
    class Texts(Batch):
        components = "texts"

    batch = Texts(["a", "b"])
    batch.texts = ["one two", "three"]
    words = batch.repeat([2, 1], texts=["one", "two", "three"])
    assert words.texts == ["one", "two", "three"]
    assert words.source_ids.tolist() == ["a", "a", "b"]
    assert batch.repeat([0, 2]).texts == ["three", "three"]
    batch.extra = {"a": 1}
    with pytest.raises(ArgumentValueError, match="'extra'"):
        batch.repeat(2)


def test_components_that_were_added_to_a_batch_are_repeated_too():
    def masks(pipeline):
        return [batch.mask.tolist() for batch in pipeline.gen_batch(2)]

    padded = images(3).p.pad("images", 5, mask="mask")
    row = [True] * 4 + [False]
    assert masks(padded.as_often_as_labels()) == [[row], [row, row]]
    assert masks(padded.mix_rows(2).as_often_as_labels().rebatch(3)) == [[row] * 3]
    assert not hasattr(padded.halves_of_rows().next_batch(2), "mask")


def test_a_class_with_a_name_of_its_own_for_repeat_keeps_it():
    class Mine(ArrayBatch):
        components = "x", "repeat"

        @action(expands=2)
        def twice(self):
            return ArrayBatch.repeat(self, 2)

    dataset = Dataset.from_arrays(Mine, x=[1, 2], repeat=[5, 6])
    assert dataset.p.twice().next_batch(2).repeat.tolist() == [5, 5, 6, 6]


def test_the_class_of_the_batches_is_told_and_checked_and_adds_no_step():
    dataset = images()
    pipeline = dataset.p.patches()
    assert pipeline.gives(Patches) is pipeline
    assert dataset.p.gives(ArrayBatch) == dataset.p
    with pytest.raises(ArgumentTypeError, match=r"gives\(Images\): .* are of Patches"):
        pipeline.gives(Images)
    with pytest.raises(ArgumentTypeError, match="subclass of Batch"):
        pipeline.gives(list)


def test_an_action_called_gives_comes_first():
    class Own(ArrayBatch):
        @action
        def gives(self, factor):
            self.data = self.data * factor
            return self

    assert Dataset.from_arrays(Own, data=[1, 2]).p.gives(3).next_batch(2).data.tolist() == [3, 6]
