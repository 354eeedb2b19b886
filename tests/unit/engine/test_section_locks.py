"""The locks of the ordered section: no two sections wait for each other."""

import threading

import pytest
from own_process import run_alone

from batchflow import Batch, Dataset, action, model

DEADLINE = 20


class Steps(Batch):
    @model()
    def net():
        return []

    @action(model="net", singleton=True)
    def fail(self, net):
        raise KeyError("mine")

    @action(model="net", singleton=True)
    def train(self, net):
        net.append(self.number)
        return self

    @action(model="net", singleton=True)
    def evaluate(self, net, pipeline):
        pipeline.run(1)
        return self


def test_after_a_step_that_raises_another_thread_can_train():
    with pytest.raises(KeyError):
        Dataset(2, Steps).p.fail().run(1)
    done = []
    thread = threading.Thread(
        target=lambda: done.append(Dataset(2, Steps).p.train().run(1)), daemon=True
    )
    thread.start()
    thread.join(DEADLINE)
    assert len(done) == 1


def test_an_ordered_step_may_run_another_pipeline_on_the_same_model():
    Steps.models.reset("net")
    inner = Dataset(3, Steps).p.train()
    Dataset(2, Steps).p.evaluate(inner).run(1)
    assert Steps.net() == [0, 1, 2] * 2


def test_a_pipeline_run_inside_a_step_and_in_another_thread_does_not_hang():
    """A training step evaluates by a second pipeline on its model, which others run as well."""
    script = """
        import threading
        from batchflow import Batch, Dataset, action, model

        started = threading.Event()

        class Steps(Batch):
            @model()
            def net():
                return []

            @action(model="net", singleton=True)
            def test(self, net):
                return self

            @action(model="net", singleton=True)
            def train(self, net, testing, other):
                started.set()
                # Until the other thread has begun its section, for a while at least.
                other.join(0.5)
                testing.run(1)
                return self

        dataset = Dataset(1, Steps)
        testing = dataset.p.test()

        def run_tests():
            started.wait()
            testing.run(1)

        other = threading.Thread(target=run_tests, daemon=True)
        training = dataset.p.train(testing, other)
        main = threading.Thread(target=training.run, args=(1,), daemon=True)
        threads = [other, main]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(1)
        print([thread.is_alive() for thread in threads])
    """
    assert run_alone(script, timeout=60).stdout.strip() == "[False, False]"
