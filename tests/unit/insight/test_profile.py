"""What a profile of a run tells: figures, bottleneck, files; and that it changes nothing."""

import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    R,
    SkipBatch,
    action,
    apply_parallel,
    inbatch_parallel,
    keep_memory,
)
from batchflow.testing import nothing_left

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK, SEMAPHORE = threading.Lock(), threading.Semaphore(1)


class Rows(ArrayBatch):
    components = "x"

    @action
    def wait(self, seconds):
        time.sleep(seconds)
        return self

    @action
    def scale(self, factor=2):
        self.x = self.x * factor
        return self

    @action
    def count(self, n):
        for _ in range(n):
            pass
        return self

    @action
    def guarded(self, seconds):
        with LOCK:
            time.sleep(seconds)
        return self

    @action
    def acquired(self, seconds):
        SEMAPHORE.acquire()
        time.sleep(seconds)
        SEMAPHORE.release()
        return self

    @action
    def submitted(self, pool, seconds):
        pool.submit(time.sleep, seconds).result()
        return self

    @action
    def file_locked(self, path, seconds):
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(seconds)
        return self

    @action
    @inbatch_parallel(init="indices", post="as_it_is", target="threads")
    def count_items(self, _, n):
        for _ in range(n):
            pass

    def as_it_is(self, *_, **__):
        return self

    @action
    def grow(self):
        for _ in range(4):
            self.x + 1
        return self

    @action
    def widen(self):
        self.x = np.zeros((len(self), 1 << 20))
        return self

    @apply_parallel(src="x")
    def same(self, row):
        return row

    @action
    def skip(self, number):
        if self.number == number:
            raise SkipBatch
        return self

    @action
    def fail(self, number):
        if self.number == number:
            raise ValueError("here")
        return self

    @action(singleton=True)
    def train(self, seconds=0.0):
        time.sleep(seconds)
        self.pipeline.v("seen").append(float(self.x.sum()))
        return self


class Slow:
    def __len__(self):
        return 400

    def read(self, positions):
        time.sleep(0.004)
        return {"x": np.zeros(len(positions))}


def over(n=400, width=8):
    return Dataset.from_arrays(Rows, x=np.ones((n, width), np.float32)).p


def looped(pipeline, seconds, **options):
    for _ in pipeline.gen_batch(4, n_iters=25, n_epochs=None, profile=True, **options):
        time.sleep(seconds)
    return pipeline.last_profile


def faulting():
    keep_memory(0)  # as if malloc had learned nothing from earlier arrays
    try:
        return over(16, 200_000).grow().profile(20, 4, prefetch=2)
    finally:
        keep_memory()


PLANTED = {
    "wait": lambda: over().wait(0.004).scale().profile(25, 4, prefetch=2),
    "source": lambda: Dataset(400, Rows, source=Slow()).p.scale().profile(25, 4, prefetch=2),
    "prefetch": lambda: looped(over().wait(0.003), 0.003),
    "gil": lambda: over().count(600_000).profile(16, 4, prefetch=4),
    "faults": faulting,
    "consumer": lambda: looped(over().wait(0.001), 0.006, prefetch=4),
    "lock": lambda: over().guarded(0.004).profile(25, 4, prefetch=4),
    "overhead": lambda: over().scale().scale().profile(200, 1),
    "transfer": lambda: over().widen().profile(12, 4, executor="processes", n_workers=2),
}


def named(bottleneck, plant):
    """Return a profile that names it: others use this machine, too, and may blur a short look."""
    for _ in range(5):
        profile = plant()
        if profile.bottleneck == bottleneck:
            break
    return profile


def no_bottleneck():
    pipeline = over().init_variable("seen", init=list).wait(0.003).train(0.004)
    return looped(pipeline, 0.004, prefetch=4)


@pytest.mark.parametrize("bottleneck", PLANTED)
def test_a_planted_bottleneck_is_named(bottleneck):
    profile = named(bottleneck, PLANTED[bottleneck])
    assert profile.bottleneck == bottleneck, str(profile)


@pytest.mark.skipif(fcntl is None, reason="needs locks on files")
def test_a_lock_between_worker_processes_is_named(tmp_path):
    pipeline = over().file_locked(tmp_path / "lock", 0.01)
    options = {"executor": "processes", "n_workers": 2, "prefetch": 4}
    profile = named("lock", lambda: pipeline.profile(60, 4, **options))
    assert profile.bottleneck == "lock", str(profile)


@pytest.mark.parametrize("options", [{}, {"executor": "processes", "n_workers": 1}])
def test_python_in_the_threads_of_items_is_named(options):
    profile = named("gil", lambda: over().count_items(60_000).profile(12, 16, **options))
    assert profile.bottleneck == "gil", str(profile)
    assert "target=" in profile.verdict


def test_a_lock_that_an_action_acquires_is_named():
    profile = named("lock", lambda: over().acquired(0.004).profile(25, 4, prefetch=4))
    assert profile.bottleneck == "lock", str(profile)


def test_an_action_that_waits_for_work_of_others_waits_for_no_lock():
    with ThreadPoolExecutor(4) as pool:
        pipeline = over().submitted(pool, 0.004)
        profile = named("submitted", lambda: pipeline.profile(25, 4, prefetch=4, n_workers=4))
    assert profile.bottleneck == "submitted", str(profile)


def test_calls_for_items_that_cost_more_than_the_items_are_named():
    profile = named("overhead", lambda: over().same().profile(25, 100))
    assert profile.bottleneck == "overhead", str(profile)
    assert "items" in profile.verdict


def test_where_nothing_takes_most_of_the_time_there_is_no_bottleneck():
    profile = named(None, no_bottleneck)
    assert profile.bottleneck is None, str(profile)


def test_a_read_in_an_action_is_named_by_it():
    profile = named("wait", lambda: over().wait(0.003).profile(20, 4))
    assert profile.bottleneck == "wait"
    assert "waits for" in profile.verdict


# ---- figures


EVERYWHERE = pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefetch": 3},
        {"executor": "serial"},
        {"executor": "processes", "n_workers": 1},
        {"executor": ThreadPoolExecutor(2), "n_workers": 2},
    ],
    ids=["in turn", "threads", "serial", "processes", "pool"],
)


@EVERYWHERE
def test_each_step_is_counted_where_it_ran(options):
    pipeline = over(40).init_variable("seen", init=list).scale().wait(0.001).train()
    shown = pipeline.profile(10, 4, **options).to_dict()["steps"]
    assert 0.99 < sum(step["share"] for step in shown) < 1.01
    # Drawing the order is shown where it takes long, as on a busy machine.
    steps = [step for step in shown if step["name"] != "order"]
    assert [step["name"] for step in steps] == ["source", "scale", "wait", "train"]
    assert [step["calls"] for step in steps] == [10] * 4
    assert all(step["bytes_out"] == 4 * 8 * 4 for step in steps)
    assert steps[2]["p95"] >= steps[2]["mean"] * 0.5 >= 0.0005
    far = options.get("executor") == "processes"
    assert ("process" in steps[1]["ran_in"]) == far
    assert "process" not in steps[3]["ran_in"]


@EVERYWHERE
def test_a_profile_changes_no_result(options):
    def seen(*, profile):
        pipeline = over(30).init_variable("seen", init=list)
        pipeline = pipeline.scale(R("normal", size=1)).skip(3).rebatch(3).scale().train()
        pipeline.run(4, shuffle=5, n_epochs=2, profile=profile, **options)
        return pipeline.v("seen")

    assert seen(profile=True) == seen(profile=False)


def test_pipelines_inside_and_regroupings_are_in_it():
    inner = over(40).scale()
    pipeline = over(40).merge(inner.run_later(4)).rebatch(16)
    profile = pipeline.profile(10, 4, prefetch=2)
    names = [step["name"] for step in profile.to_dict()["steps"]]
    assert {"source", "merge", "rebatch", "source (inside)", "scale (inside)"} <= {*names}


def test_a_joined_pipeline_is_in_it():
    class Pairs(Rows):
        @action
        def add(self, other):
            self.x = self.x + other.x
            return self

    left = Dataset.from_arrays(Pairs, x=np.ones((20, 2))).p
    profile = left.join(over(20, 2).scale()).add().profile(5, 4)
    names = {step["name"] for step in profile.to_dict()["steps"]}
    assert {"add", "scale (inside)"} <= names


def test_a_loop_sees_the_profile_so_far_and_keeps_it():
    pipeline = over(40).scale()
    assert pipeline.last_profile is None
    for batch in pipeline.gen_batch(4, profile=True):
        if batch.number == 5:
            assert pipeline.last_profile.to_dict()["n_batches"] == 5
            break
    assert pipeline.last_profile.to_dict()["n_batches"] == 5
    assert pipeline.scale().last_profile is None  # another value


def test_next_batch_and_feeds_are_profiled():
    pipeline = over(40).scale()
    for _ in range(6):
        pipeline.next_batch(4, profile=True)
    assert pipeline.last_profile.to_dict()["steps"][1]["calls"] == 6
    fed = over(40).scale()
    list(fed.feed(4, x=B.x, profile=True))
    assert fed.last_profile.to_dict()["n_batches"] == 9


def test_quick_batches_are_measured_now_and_then_and_all_counted():
    pipeline = over(4000).scale().scale(3)
    pipeline.run(1, profile=True, prefetch=2)
    profile = pipeline.last_profile
    assert [step["calls"] for step in profile.to_dict()["steps"]][:3] == [4000] * 3
    measured = profile._calls
    assert len(measured) < 4000


def test_an_error_arrives_and_leaves_a_profile_and_no_thread():
    pipeline = over(400).wait(0.001).fail(6)
    before = threading.active_count()
    with pytest.raises(ValueError, match="here") as caught:
        pipeline.run(4, prefetch=2, profile=True)
    assert any("fail" in note for note in caught.value.__notes__)
    assert pipeline.last_profile.to_dict()["n_batches"] >= 4
    assert not [t for t in threading.enumerate() if t.name == "batchflow-profile"]
    assert threading.active_count() <= before


def test_a_loop_that_is_left_leaves_no_thread():
    pipeline = over(400).wait(0.001)
    with nothing_left():
        for batch in pipeline.gen_batch(4, prefetch=2, n_epochs=None, profile=True):
            if batch.number == 3:
                break
        del batch
        gc.collect()
        assert not [t for t in threading.enumerate() if t.name == "batchflow-profile"]
    assert pipeline.last_profile.to_dict()["n_batches"] == 3


def test_a_profiled_run_in_an_action_is_part_of_the_action():
    class Outer(Rows):
        @action
        def inner(self):
            over(40).wait(0.002).run(8, profile=True)
            return self

    profile = Dataset.from_arrays(Outer, x=np.ones((40, 2))).p.inner().profile(5, 4)
    assert profile.to_dict()["steps"][1]["mean"] > 0.01


def test_a_profile_holds_no_batch():
    seen = []

    class Held(Rows):
        @action
        def note(self):
            seen.append(1)
            return self

        def __del__(self):
            seen.pop()

    pipeline = Dataset.from_arrays(Held, x=np.ones((40, 2))).p.note()
    gc.disable()
    try:
        pipeline.profile(10, 4, prefetch=2)
    finally:
        gc.enable()
    assert seen == []


def test_few_batches_tell_nothing():
    profile = over(8).scale().profile(1, 4)
    assert profile.bottleneck is None
    assert "profile more" in profile.verdict


# ---- what it is given as


def test_it_prints_a_table_and_the_verdict():
    profile = over().wait(0.002).profile(10, 4)
    text = str(profile)
    assert text.splitlines()[0].split() == [
        *("step", "calls", "mean", "p95", "share", "out", "faults", "ran", "in")
    ]
    assert text.endswith(profile.verdict)
    json.dumps(profile.to_dict())


def test_html_is_escaped():
    profile = over().wait(0.001).profile(6, 4)
    profile._costs[-1] = profile._costs[-1]._replace(
        key=profile._costs[-1].key._replace(kind="step", name="<script>")
    )
    assert "<script>" not in profile._repr_html_()
    assert "&lt;script&gt;" in profile._repr_html_()


def test_a_trace_has_the_calls_of_each_thread(tmp_path):
    pipeline = over().wait(0.002).scale()
    profile = pipeline.profile(12, 4, prefetch=2)
    profile.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    calls = [event for event in events if event["ph"] == "X"]
    waits = [event for event in calls if event["name"] == "wait"]
    assert 6 <= len(waits) <= 12  # on a busy machine not all are measured
    assert all(event["dur"] >= 1900 and event["ts"] >= 0 for event in waits)
    assert {event["args"]["batch"] for event in waits} <= {*range(12)}
    assert any(event["name"] == "consumer" for event in calls)
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert "consumer" in names


# ---- the word


def test_an_action_called_profile_wins():
    class Own(Rows):
        @action
        def profile(self, n_batches):
            self.x = self.x + n_batches
            return self

    dataset = Dataset.from_arrays(Own, x=np.zeros(4))
    assert dataset.p.profile(5).next_batch(4).x.tolist() == [5] * 4


@pytest.mark.parametrize("name", ["n_iters", "profile"])
def test_options_that_it_sets_itself_are_refused(name):
    with pytest.raises(ArgumentTypeError, match=name):
        over().profile(5, 4, **{name: 1})


@pytest.mark.parametrize("n_batches", [None, 0, -1, 1.5, "3", True])
def test_a_number_of_batches_is_a_whole_number_from_1_on(n_batches):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="n_batches must be"):
        over().profile(n_batches, 4)
