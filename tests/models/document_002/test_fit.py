"""Document 002: `fit` and `fit_generator`, and the data that all loops take."""

import functools

import numpy as np
import pytest
from models.document_002.asking import (
    ask,
    both_targets,
    build,
    build_eager,
    build_eager_two,
    build_two,
    digits,
    halves,
    import_keras,
    states,
)
from models.document_002.data import KINDS, given_as, record
from models.document_002.rows import row

from batchflow import B
from batchflow.testing import digest

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]


def fitted(**options):
    """Give the history of a `fit` in an action."""
    return ask(lambda net, x, y: net.fit(x, y, **{"verbose": 0, **options}).history)


# ---- data


@row("fit.x", "fit.y", "evaluate.x", "evaluate.y", "predict.x")
@pytest.mark.parametrize("kind", KINDS)
def test_all_loops_take_data_of_every_documented_kind(row, kind):
    def loops(net, x, y):
        how, data = given_as(kind, *halves(x), both_targets(y))
        losses = net.evaluate(**data(), **how, verbose=0, return_dict=True)
        without_y = {name: value for name, value in data().items() if name != "y"}
        outputs = net.predict(**without_y, steps=how.get("steps"), verbose=0)
        steps = {"steps_per_epoch": how["steps"]} if "steps" in how else how
        net.fit(**data(), **steps, shuffle=False, verbose=0)
        return losses["loss"], outputs, digest(*states(net))

    loss, outputs, trained = ask(loops, build_eager_two)
    expected = expected_of_loops()
    assert loss == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(outputs[0], expected[1][0], rtol=1e-5)
    assert trained == expected[2]


@functools.cache
def expected_of_loops():
    return ask(lambda net, x, y: plain_loops(net, halves(x), both_targets(y)), build_eager_two)


def plain_loops(net, x, y):
    loss = net.test_on_batch(list(x), y, return_dict=True)["loss"]
    outputs = net.predict_on_batch(list(x))
    for at in range(0, 32, 8):
        net.train_on_batch(
            [part[at : at + 8] for part in x], {k: v[at : at + 8] for k, v in y.items()}
        )
    return loss, outputs, digest(*states(net))


@row("fit.x", "evaluate.x", "predict.x")
def test_all_loops_take_the_feed_of_a_pipeline(row):
    net = build()
    scaled = digits().p.scale()
    history = net.fit(
        scaled.feed(32, B.images, B.labels, shuffle=1, prefetch=2).to_keras(),
        epochs=3,
        shuffle=False,
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0]
    data = scaled.feed(32, B.images, B.labels).to_keras()
    loss, _ = net.evaluate(data, verbose=0)
    assert loss < history["loss"][0]
    assert net.predict(scaled.feed(50, B.images).to_keras(), verbose=0).shape == (128, 10)


# ---- how long, and in which batches


@row("fit.batch_size", "fit.epochs", "fit.initial_epoch", "fit.steps_per_epoch")
def test_batches_and_epochs_are_counted(row):
    import tensorflow as tf

    def steps(as_dataset=False, **options):
        def question(net, x, y):
            data = (x, y)
            if as_dataset:
                data = (tf.data.Dataset.from_tensor_slices(data).batch(8).repeat(),)
            net.fit(*data, verbose=0, shuffle=not as_dataset, **options)
            return int(net.optimizer.iterations)

        return ask(question, build_eager)

    assert steps() == 1  # 32 by default
    assert steps(batch_size=8) == 4
    assert steps(batch_size=8, epochs=3) == 12
    assert steps(batch_size=8, epochs=3, initial_epoch=2) == 4
    assert steps(batch_size=8, steps_per_epoch=3) == 3
    assert steps(as_dataset=True, epochs=2, steps_per_epoch=3) == 6


@row("fit.shuffle")
def test_items_are_shuffled_or_not_or_by_batches(row):
    def orders(net, x, y):
        numbers = np.arange(32.0)[:, None] + np.zeros((1, 64))
        return {
            how: record(net, lambda how=how: net.fit(numbers, y, 8, shuffle=how, verbose=0))
            for how in (False, True, "batch")
        }

    batches = ask(orders, lambda: build(run_eagerly=True))
    in_order = np.arange(32).reshape(4, 8)
    np.testing.assert_array_equal(batches[False], in_order)
    assert sorted(np.ravel(batches[True])) == list(range(32))
    assert not np.array_equal(batches[True], in_order)
    assert {frozenset(batch) for batch in batches["batch"]} == {
        frozenset(batch) for batch in in_order.tolist()
    }
    assert not np.array_equal(batches["batch"], in_order)


@row("fit.verbose", "evaluate.verbose", "predict.verbose")
def test_verbose_says_what_is_printed(row, capsys):
    def printed(verbose):
        def question(net, x, y):
            net.fit(x, y, verbose=verbose)
            fit = capsys.readouterr().out
            net.evaluate(x, y, verbose=min(verbose, 1))
            net.predict(x, verbose=min(verbose, 1))
            return fit, capsys.readouterr().out

        return ask(question, build_eager)

    assert printed(0) == ("", "")
    bar, loops = printed(1)
    assert "━" in bar
    assert loops.count("1/1") >= 2
    line, _ = printed(2)
    assert "━" not in line
    assert "loss" in line


@row("fit.callbacks", "evaluate.callbacks", "predict.callbacks")
def test_callbacks_are_called(row):
    keras = import_keras()
    seen = []
    moments = ("on_train_begin", "on_epoch_end", "on_test_batch_end", "on_predict_end")

    class Watch(keras.callbacks.Callback):
        pass

    for moment in moments:
        setattr(Watch, moment, lambda self, *args, moment=moment, **logs: seen.append(moment))

    def question(net, x, y):
        watch = [Watch()]
        net.fit(x, y, epochs=2, verbose=0, callbacks=watch)
        net.evaluate(x, y, batch_size=16, verbose=0, callbacks=watch)
        net.predict(x, verbose=0, callbacks=watch)

    ask(question, build_eager)
    assert [seen.count(moment) for moment in moments] == [1, 2, 2, 1]


# ---- validation


@row("fit.validation_split", "fit.validation_data", "fit.returns")
def test_the_last_items_are_split_off_to_validate_on(row):
    def question(net, x, y):
        split = net.fit(x, y, validation_split=0.25, shuffle=False, verbose=0).history
        again = build_eager()
        given = again.fit(
            x[:24], y[:24], validation_data=(x[24:], y[24:]), shuffle=False, verbose=0
        )
        assert isinstance(given, import_keras().callbacks.History)
        return split, given.history

    split, given = ask(question, build_eager)
    assert split == given
    assert split.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [len(values) for values in split.values()] == [1] * 4


@row("fit.validation_data", "fit.validation_steps", "fit.validation_freq")
def test_validation_takes_weights_datasets_steps_and_a_frequency(row):
    import tensorflow as tf

    def question(net, x, y):
        weights = np.zeros(32)
        weights[0] = 32
        weighted = net.fit(x, y, validation_data=(x, y, weights), verbose=0).history["val_loss"]
        first = net.evaluate(x[:1], y[:1], verbose=0, return_dict=True)["loss"]
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        some = {"validation_data": dataset, "validation_steps": 2, "epochs": 4, "verbose": 0}
        counts = [
            len(net.fit(x, y, **some, validation_freq=often).history["val_loss"])
            for often in (1, 2, [1, 3, 4])
        ]
        twice = net.fit(x, y, **{**some, "epochs": 1}).history["val_loss"]
        halfway = net.evaluate(x[:16], y[:16], verbose=0, return_dict=True)["loss"]
        return weighted, [first], counts, twice, [halfway]

    weighted, first, counts, twice, halfway = ask(question, build_eager)
    assert weighted == pytest.approx(first, rel=1e-5)
    assert counts == [4, 2, 3]
    assert twice == pytest.approx(halfway, rel=1e-5)


# ---- weights


@row("fit.class_weight", "fit.sample_weight", "train_on_batch.class_weight")
def test_classes_and_items_are_weighted(row):
    def question(net, x, y):
        by_class = {label: float(label == y[0]) for label in range(10)}
        by_item = np.array([by_class[label] for label in y])
        in_fit = [
            build().fit(x, y, shuffle=False, verbose=0, **weights).history["loss"][0]
            for weights in ({"class_weight": by_class}, {"sample_weight": by_item})
        ]
        in_step = net.train_on_batch(x, y, class_weight=by_class, return_dict=True)["loss"]
        unweighted = build().train_on_batch(x, y, return_dict=True)["loss"]
        return [*in_fit, in_step], unweighted

    weighted, unweighted = ask(question)
    assert weighted == pytest.approx([weighted[0]] * 3, rel=1e-5)
    assert weighted[0] != pytest.approx(unweighted, rel=1e-2)


# ---- errors


@row("fit.RuntimeError")
def test_a_model_that_is_not_compiled_is_a_value_error(row):
    def bare():
        keras = import_keras()
        return keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])

    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        ask(lambda net, x, y: net.fit(x, y, verbose=0), bare)


@row("fit.ValueError", "fit.**kwargs")
def test_what_fit_cannot_use_is_refused(row):
    for options in ({"y": np.zeros(5)}, {"x": np.zeros((32, 5))}):
        with pytest.raises(ValueError, match=r"same number of samples|expected shape="):
            ask(lambda net, x, y, o=options: net.fit(**{"x": x, "y": y, "verbose": 0, **o}))
    with pytest.raises(ValueError, match="expects 2 named input"):
        ask(lambda net, x, y: net.fit(x, y, verbose=0), build_two)
    with pytest.raises(TypeError, match="nb_epoch"):
        fitted(nb_epoch=1)
