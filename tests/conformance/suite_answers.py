"""Order, exactly-once, bounds, and law 1: one answer."""

import itertools
import threading
import time

import numpy as np
import pytest

from batchflow import B
from batchflow.testing import digest

from .chains import BATCH, CHAINS, DEADLINE, N_ITEMS, make_dataset, told, training

EXPECTED = {}


def expected(make, **options):
    """What `prefetch=0` gives, which defines the answer."""
    key = make, tuple(options.items())
    if key not in EXPECTED:
        EXPECTED[key] = told(*make(), prefetch=0, **options)
    return EXPECTED[key]


class Answers:
    @pytest.mark.parametrize("make", CHAINS)
    def test_the_answer_is_that_of_the_consumers_thread(self, make, executor):
        options = {"n_epochs": 2, "shuffle": True}
        assert told(*make(), executor=executor, prefetch=5, **options) == expected(make, **options)

    @pytest.mark.parametrize("prefetch", [1, 2, 16])
    def test_the_answer_does_not_depend_on_prefetch(self, executor, prefetch):
        options = {"n_epochs": 3, "shuffle": 7, "drop_last": True}
        made = told(*training(), executor=executor, prefetch=prefetch, **options)
        assert made == expected(training, **options)

    def test_a_second_run_of_a_pipeline_gives_the_same(self, executor):
        pipeline = make_dataset().p.augment().jitter()
        first = told(pipeline, executor=executor, prefetch=4)
        assert told(pipeline, executor=executor, prefetch=4) == first

    def test_batches_come_in_order_each_once(self, executor):
        pipeline = make_dataset(400).p.jitter()
        seen = [
            (batch.number, *batch.indices)
            for batch in pipeline.gen_batch(BATCH, executor=executor, prefetch=6)
        ]
        assert [number for number, *_ in seen] == list(range(100))
        assert [i for _, *ids in seen for i in ids] == list(range(400))

    def test_never_more_than_prefetch_batches_are_begun(self, executor, tmp_path):
        if executor == "serial":
            pytest.skip("nothing is begun ahead")
        prefetch = 3
        pipeline = make_dataset().p.tell(str(tmp_path))
        with pipeline.gen_batch(BATCH, executor=executor, prefetch=prefetch) as run:
            for taken, _ in enumerate(run, start=1):
                # All that may be begun is begun, without anybody asking for it ...
                may_be = min(taken + prefetch, N_ITEMS // BATCH)
                end = time.monotonic() + DEADLINE
                while (begun := len(list(tmp_path.iterdir()))) < may_be:
                    assert time.monotonic() < end, f"{begun} are begun, not {may_be}"
                    time.sleep(0.002)
                assert begun <= may_be  # ... and nothing else

    def test_without_prefetch_it_is_two_for_each_worker(self, executor, tmp_path):
        if executor == "serial":
            pytest.skip("nothing is begun ahead")
        pipeline = make_dataset().p.tell(str(tmp_path))
        with pipeline.gen_batch(BATCH, executor=executor, n_workers=2) as run:
            next(run)
            end = time.monotonic() + DEADLINE
            while len(list(tmp_path.iterdir())) < 5:
                assert time.monotonic() < end, "too few are begun"
                time.sleep(0.002)
            assert len(list(tmp_path.iterdir())) == 5

    def test_one_worker_does_one_batch_at_a_time(self, executor):
        def clocked(x):
            start = time.monotonic()
            time.sleep(0.003)
            return start, time.monotonic()

        pipeline = make_dataset().p.call(clocked, B.x, save_to=B.time)
        options = {"executor": executor, "n_workers": 1, "prefetch": 4}
        times = [batch.time for batch in pipeline.gen_batch(BATCH, **options)]
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(times))

    def test_preloaded_arrays_stay_as_they_are(self, executor):
        def quarantine(batch):
            batch.x[:] = -1
            batch.y += 1

        dataset = make_dataset()
        before = digest(dataset.create_batch(dataset.index).x)
        pipeline = dataset.p.call(quarantine, B())
        first = told(pipeline, executor=executor, prefetch=3)
        assert told(pipeline, executor=executor, prefetch=3) == first
        assert digest(dataset.create_batch(dataset.index).x) == before

    @pytest.mark.parametrize("n_items", [BATCH, 100_000])
    def test_arrays_can_be_written_to(self, executor, n_items):
        pipeline = make_dataset(n_items).p.augment().call(lambda x: x[:2], B.x, save_to=B.part)
        for batch in pipeline.gen_batch(n_items, executor=executor, prefetch=2):
            for array in (batch.x, batch.y, batch.part):
                array += 1
                array.sort(axis=0)
            assert batch.x.flags.owndata or batch.x.base is not None

    def test_batches_have_their_class_dataset_and_pipeline(self, executor):
        pipeline = make_dataset().p.augment()
        for batch in pipeline.gen_batch(BATCH, executor=executor, prefetch=4):
            assert type(batch) is pipeline.dataset.batch_class
            assert batch.dataset is pipeline.dataset
            assert batch.pipeline is pipeline

    def test_two_runs_at_once_do_not_disturb_each_other(self, executor):
        results = {}

        def work(number):
            results[number] = told(*training(), executor=executor, prefetch=4, n_epochs=4)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        alone = expected(training, n_epochs=4)
        assert results == {0: alone, 1: alone}

    def test_two_runs_in_turns_do_not_disturb_each_other(self, executor):
        pipeline = make_dataset().p.jitter().augment()
        options = {"executor": executor, "prefetch": 3, "seed": 1}
        with pipeline.gen_batch(BATCH, **options) as a, pipeline.gen_batch(BATCH, **options) as b:
            pairs = [(digest(x.x), digest(y.x)) for x, y in zip(a, b, strict=True)]
        assert len(pairs) == N_ITEMS // BATCH
        assert all(x == y for x, y in pairs)

    def test_next_batch_goes_on_from_call_to_call(self, executor):
        pipeline = make_dataset().p.augment()
        options = {"executor": executor, "prefetch": 4, "seed": 2, "shuffle": True}
        batches = [pipeline.next_batch(BATCH, **options) for _ in range(12)]
        pipeline.reset("iter")
        assert [batch.number for batch in batches] == list(range(12))
        assert [batch.epoch for batch in batches] == [n // 9 for n in range(12)]

    def test_settings_of_numpy_travel(self, executor):
        pipeline = make_dataset().p.call(lambda x: np.zeros_like(x) / np.zeros_like(x), B.x)
        with np.errstate(invalid="ignore"):
            pipeline.run(BATCH, executor=executor, prefetch=2)
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            pipeline.run(BATCH, executor=executor, prefetch=2)
