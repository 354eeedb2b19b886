"""What travels to other processes and back, and what is refused before the run."""

import os
import threading

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Batch,
    D,
    Dataset,
    V,
    action,
    model,
)

from .chains import BATCH, make_dataset

MB = 1_000_000


class Travel:
    def batches(self, pipeline, executor, **options):
        return list(pipeline.gen_batch(BATCH, executor=executor, prefetch=4, **options))

    def test_it_is_elsewhere(self, executor):
        pipeline = make_dataset().p.call(os.getpid, save_to=B.process)
        assert os.getpid() not in {b.process for b in self.batches(pipeline, executor)}

    def test_attributes_that_actions_set_travel(self, executor):
        def mark(batch):
            batch.text = f"batch {batch.number}"
            batch.nested = {"ids": [np.array(batch.indices)], "of": type(batch)}
            batch.rng.random()

        dataset = make_dataset()
        for batch in self.batches(dataset.p.call(mark, B()), executor):
            assert batch.text == f"batch {batch.number}"
            assert batch.nested["ids"][0].tolist() == batch.indices.tolist()
            assert batch.nested["of"] is dataset.batch_class

    def test_what_is_computed_of_views_has_the_same_bits(self, executor):
        def cut(number):
            return np.random.default_rng(number).normal(size=(50, 40, 300))[::3, 5:, ::7]

        pipeline = make_dataset().p.call(cut, B.number, save_to=B.part)
        for batch in self.batches(pipeline, executor):
            here, there = cut(batch.number), batch.part
            assert there.sum() == here.sum()
            assert np.array_equal(there @ there[0].T, here @ here[0].T)
            assert np.einsum("ijk,ijk", there, there) == np.einsum("ijk,ijk", here, here)

    def test_a_batch_class_with_slots_and_a_constructor(self, executor):
        class Slotted(ArrayBatch):
            __slots__ = ("note", "unset")
            components = "x"

            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.made = "yes"

            @action
            def work(self):
                self.note = self.number * 10
                return self

        pipeline = Dataset.from_arrays(Slotted, x=np.arange(12.0)).p.work()
        for batch in self.batches(pipeline, executor):
            assert (batch.note, batch.made, hasattr(batch, "unset")) == (
                batch.number * 10,
                "yes",
                False,
            )

    def test_an_attribute_that_cannot_travel_is_named(self, executor):
        def hold(batch):
            batch.extra = {"held": threading.Lock()}

        numbers = []
        with pytest.raises(ArgumentTypeError, match=r"extra.*'held'.*lock") as caught:
            pipeline = make_dataset().p.call_at(2, hold)
            for batch in pipeline.gen_batch(BATCH, executor=executor, prefetch=4):
                numbers.append(batch.number)
        assert numbers == [0, 1]
        assert any("batch 2" in note for note in caught.value.__notes__)

    def test_variables_and_config_are_read_by_parallel_steps(self, executor):
        def read(batch):
            batch.read = batch.pipeline.v("table")["k"].sum(), batch.pipeline.config["factor"]

        chain = make_dataset().pipeline({"factor": 3}).init_variable("table", {"k": np.arange(5)})
        pipeline = chain.call(read, B()).call(lambda t: sorted(t), V("table"), save_to=B.keys)
        for batch in self.batches(pipeline, executor):
            assert batch.read == (10, 3)
            assert batch.keys == ["k"]

    def test_the_dataset_is_there(self, executor):
        pipeline = make_dataset().p.call(lambda index: len(index), D.index, save_to=B.n)
        assert {batch.n for batch in self.batches(pipeline, executor)} == {36}

    def test_variables_that_no_step_reads_need_not_travel(self, executor):
        pipeline = make_dataset().p.init_variable("lock", init=threading.Lock).augment()
        assert len(self.batches(pipeline, executor)) == 9

    def test_lambdas_and_closures_travel(self, executor):
        table = np.arange(MB, dtype=float)  # larger than what goes with each task

        def looked_up(x):
            return x + table[:3]

        pipeline = make_dataset().p.call(looked_up, B.x, save_to=B.x).map(lambda v: v * 2, src="x")
        plain = make_dataset()
        for batch in self.batches(pipeline, executor, n_epochs=2):
            before = plain.create_batch(batch.indices).x
            assert np.array_equal(batch.x, (before + table[:3]) * 2)

    def test_a_big_dataset_in_memory(self, executor):
        x = np.random.default_rng(0).normal(size=(36, 30_000))  # 8 MB

        class Big(ArrayBatch):
            components = "x"

        pipeline = Dataset.from_arrays(Big, x=x).p.call(np.negative, B.x, save_to=B.x)
        for batch in self.batches(pipeline, executor, shuffle=3):
            assert np.array_equal(batch.x, -x[batch.indices])

    # ---- refused before the run

    def refused(self, pipeline, executor, error, match, tmp_path):
        with pytest.raises(error, match=match):
            pipeline.run(BATCH, executor=executor, prefetch=4)
        assert not list(tmp_path.iterdir())

    def test_a_parallel_step_on_a_model_is_refused(self, executor, tmp_path):
        class Asks(Batch):
            @model()
            def net():
                return {}

            @action(model="net")
            def ask(self, net):
                return self

        pipeline = Dataset(12, Asks).p.call(_tells, str(tmp_path), B.number).ask()
        self.refused(pipeline, executor, ArgumentValueError, r"ask.*model 'net'", tmp_path)

    def test_a_lambda_with_a_lock_is_refused(self, executor, tmp_path):
        lock = threading.Lock()
        chain = make_dataset().p.tell(str(tmp_path))
        pipeline = chain.call(lambda x: lock.locked(), B.x)
        match = r"chained at .*suite_travel.py.*cannot travel.*lock"
        self.refused(pipeline, executor, ArgumentTypeError, match, tmp_path)

    def test_a_variable_that_cannot_travel_is_refused(self, executor, tmp_path):
        chain = make_dataset().p.init_variable("lock", init=threading.Lock).tell(str(tmp_path))
        pipeline = chain.call(lambda lock: None, V("lock"))
        match = r"call.*chained at .*cannot travel.*variable 'lock', of type lock"
        self.refused(pipeline, executor, ArgumentTypeError, match, tmp_path)

    def test_what_stays_in_order_may_hold_anything(self, executor):
        lock = threading.Lock()

        def count(total):
            with lock:
                return total + 1

        pipeline = make_dataset().p.init_variable("n", 0).augment()
        pipeline = pipeline.call(count, V("n"), save_to=V("n"))
        assert pipeline.run(BATCH, executor=executor, prefetch=4).v("n") == 9

    def test_an_order_by_a_function_with_a_lock_stays_here(self, executor):
        lock = threading.Lock()

        def backwards(positions):
            with lock:
                return positions[::-1]

        batches = self.batches(make_dataset().p.augment(), executor, shuffle=backwards)
        assert batches[0].indices.tolist() == [35, 34, 33, 32]


def _tells(folder, number):
    with open(os.path.join(folder, f"begun-{number}"), "w"):
        pass
