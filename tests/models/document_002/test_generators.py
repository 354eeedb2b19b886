"""Document 002: data from generators, and the workers that read data."""

import textwrap

import numpy as np
import pytest
from models.document_002.asking import ask, build, import_keras
from models.document_002.rows import row
from own_process import run_alone

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]


def batches(x, y=None):
    while True:
        for at in range(0, len(x), 8):
            part = slice(at, at + 8)
            yield (x[part],) if y is None else (x[part], y[part])


@row(
    *("fit_generator.generator", "fit_generator.steps_per_epoch", "fit_generator.epochs"),
    *("fit_generator.validation_data", "fit_generator.validation_steps"),
    *("fit_generator.validation_freq", "fit_generator.verbose", "fit_generator.callbacks"),
    *("fit_generator.initial_epoch", "fit_generator.shuffle"),
    "fit_generator.returns",
)
def test_fit_takes_a_generator(row):
    epochs = []

    def question(net, x, y):
        assert not hasattr(net, "fit_generator")
        watch = import_keras().callbacks.LambdaCallback(
            on_epoch_end=lambda n, logs: epochs.append(n)
        )
        history = net.fit(
            batches(x, y),
            steps_per_epoch=4,
            epochs=4,
            initial_epoch=1,
            validation_data=batches(x, y),
            validation_steps=2,
            validation_freq=[2, 4],
            callbacks=[watch],
            shuffle=False,
            verbose=0,
        )
        return int(net.optimizer.iterations), history.history

    n_steps, history = ask(question)
    assert n_steps == 12
    assert epochs == [1, 2, 3]
    assert len(history["val_loss"]) == 2
    assert history["loss"][-1] < history["loss"][0]


@row("fit_generator.class_weight")
def test_a_generator_gives_the_weights_of_its_items_itself(row):
    by_class = {label: label / 10 for label in range(10)}
    by_number = np.array(list(by_class.values()))

    def question(net, x, y):
        with pytest.raises(ValueError, match="`class_weight` is not supported"):
            net.fit(batches(x, y), class_weight=by_class, shuffle=False, verbose=0)
        weighted = ((x, y, by_number[y]) for x, y in batches(x, y))
        history = net.fit(weighted, steps_per_epoch=4, shuffle=False, verbose=0).history
        again = build().fit(x, y, 8, class_weight=by_class, shuffle=False, verbose=0).history
        return history["loss"], again["loss"]

    losses, expected = ask(question)
    assert losses == pytest.approx(expected, rel=1e-5)


@row(
    *("evaluate_generator.generator", "evaluate_generator.steps", "evaluate_generator.callbacks"),
    *("evaluate_generator.verbose", "evaluate_generator.returns", "predict_generator.generator"),
    *("predict_generator.steps", "predict_generator.callbacks", "predict_generator.verbose"),
    "predict_generator.returns",
)
def test_evaluate_and_predict_take_generators(row):
    calls = []

    def question(net, x, y):
        assert not hasattr(net, "evaluate_generator")
        assert not hasattr(net, "predict_generator")
        watch = import_keras().callbacks.LambdaCallback()
        watch.on_test_end = lambda logs=None: calls.append("test")
        watch.on_predict_end = lambda logs=None: calls.append("predict")
        options = {"steps": 4, "callbacks": [watch], "verbose": 0}
        return (
            net.evaluate(batches(x, y), **options),
            net.evaluate(x, y, verbose=0),
            net.predict(batches(x), **options),
            net.predict(x, verbose=0),
        )

    values, expected_values, outputs, expected_outputs = ask(question)
    assert values == pytest.approx(expected_values, rel=1e-5)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5)
    assert calls == ["test", "predict"]


@row("fit_generator.ValueError", "evaluate_generator.ValueError", "predict_generator.ValueError")
def test_a_generator_of_anything_else_is_refused(row):
    def broken():
        yield "no arrays"

    for loop in ("fit", "evaluate", "predict"):
        with pytest.raises(ValueError, match="generator must return a tuple"):
            options = {"verbose": 0, **({"shuffle": False} if loop == "fit" else {})}
            ask(lambda net, x, y, n=loop, o=options: getattr(net, n)(broken(), **o))


WORKERS = """
    import os
    import numpy as np
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, number):
            return np.full((2, 1), os.getpid()), np.ones((2, 1))

    if __name__ == "__main__":
        net = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(1.0)])
        net.compile(loss=lambda y_true, y_pred: y_pred * 0)
        data = Batches(workers=2, max_queue_size=3, use_multiprocessing=True)
        seen = net.predict(data, verbose=0)
        net.evaluate(data, verbose=0)
        print("elsewhere" if os.getpid() not in seen else "here")
"""
_OPTIONS = ("workers", "max_queue_size", "use_multiprocessing")


@row(
    *("fit.workers", "fit.max_queue_size", "fit.use_multiprocessing"),
    *("evaluate.workers", "evaluate.max_queue_size", "evaluate.use_multiprocessing"),
    *("predict.workers", "predict.max_queue_size", "predict.use_multiprocessing"),
    *("fit_generator.workers", "fit_generator.max_queue_size"),
    *("evaluate_generator.workers", "evaluate_generator.max_queue_size"),
    *("predict_generator.workers", "predict_generator.max_queue_size"),
)
def test_workers_are_those_of_the_data(row):
    import threading

    keras = import_keras()
    threads = set()

    def question(net, x, y):
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, number):
                threads.add(threading.get_ident())
                part = slice(number * 8, number * 8 + 8)
                return x[part], y[part]

        for loop in ("fit", "evaluate", "predict"):
            for option in _OPTIONS:
                with pytest.raises((TypeError, ValueError), match=option):
                    getattr(net, loop)(x, **{option: 1})
        data = Batches(workers=2, max_queue_size=3, use_multiprocessing=False)
        net.fit(data, verbose=0)
        return (
            net.evaluate(data, verbose=0),
            net.evaluate(x, y, verbose=0),
            len(net.predict(data, verbose=0)),
        )

    values, expected, n_items = ask(question)
    assert values == pytest.approx(expected, rel=1e-5)
    assert n_items == 32
    assert threads - {threading.get_ident()}


@row(
    *("fit.use_multiprocessing", "evaluate.use_multiprocessing", "predict.use_multiprocessing"),
    *("fit_generator.use_multiprocessing", "evaluate_generator.use_multiprocessing"),
    "predict_generator.use_multiprocessing",
)
def test_data_can_be_read_in_processes(row, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(textwrap.dedent(WORKERS))
    assert run_alone(script).stdout.split() == ["elsewhere"]
