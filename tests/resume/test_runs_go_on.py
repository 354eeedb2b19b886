"""A run that is saved behind any batch goes on to the same bits."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import (
    ArrayBatch,
    B,
    Balanced,
    Bucketed,
    Checkpoint,
    Dataset,
    Keep,
    Pipeline,
    Shuffle,
    SkipBatch,
    StopPipeline,
    V,
    Weighted,
    action,
    model,
)
from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError

N = 23


class Rows(ArrayBatch):
    components = "x"

    @model()
    def weights():
        return {"w": np.zeros(3), "n": 0}

    @model(mode="dynamic")
    def first(batch):
        return {"x": batch.x.copy(), "sum": 0.0}

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=len(self))
        return self

    @action(expands=2)
    def twice(self):
        return self.repeat(2)

    @action
    def skip_some(self):
        if self.number % 4 == 1:
            raise SkipBatch
        return self

    @action(model="weights", singleton=True)
    def train(self, weights):
        weights["w"] = weights["w"] * 0.9 + self.x[:1].sum() * np.arange(3) + np.random.rand()
        weights["n"] += 1
        return self

    @action(model="first", singleton=True)
    def add(self, first):
        first["sum"] += float(self.x.sum())
        return self

    @action(singleton=True)
    def stop_at(self, number):
        self.pipeline.v("asked").append(self.number)
        if self.number == number:
            raise StopPipeline
        return self


AHEAD = {
    "noise": Pipeline().noise(),
    "rebatch": Pipeline().rebatch(5),
    "twice": Pipeline().twice(),
    "mix_rows": Pipeline().mix_rows(3),
    "filter": Pipeline().filter(B.x > 3),
    "skip": Pipeline().skip_some(),
}
TRAINING = Pipeline().train().add().update(V("seen", "e"), B.x)
ORDERS = [
    False,
    True,
    7,
    Shuffle(block=4, window=2),
    Weighted(np.arange(N)),
    Balanced(np.arange(N) % 2),
    Bucketed(np.arange(N), window=8),
    lambda positions, rng: rng.permutation(positions),
]


def rows(cls=Rows, n=N):
    return Dataset.from_arrays(cls, x=np.arange(float(n)))


def chained(chain, dataset=None):
    """Return a pipeline as a new process has it: with variables and models of its own."""
    Rows.models.reset("weights")
    np.random.seed(1)
    pipeline = Pipeline().init_variable("seen", init=list).init_variable("asked", init=list)
    return (dataset or rows()) >> (pipeline + chain)


def read(run, most=None):
    got = []
    for batch in run:
        got.append((batch.number, batch.epoch, batch.x.tolist(), batch.source_numbers))
        if most is not None and len(got) == most:
            break
    return got


def outcome(pipeline):
    first = pipeline.m("first")
    return (
        pipeline.v("seen"),
        Rows.models["weights"]["w"].tolist(),
        Rows.models["weights"]["n"],
        first["sum"],
        first["x"].tolist(),
        np.random.rand(),
    )


@st.composite
def cases(draw):
    chain = Pipeline()
    for name in draw(st.lists(st.sampled_from(sorted(AHEAD)), max_size=3)):
        chain = chain + AHEAD[name]
    options = {
        "batch_size": draw(st.integers(2, 7)),
        "shuffle": draw(st.sampled_from(ORDERS)),
        "seed": 3,
        "n_epochs": 2,
        "drop_last": draw(st.booleans()),
    }
    return chain + TRAINING, options, draw(st.sampled_from([0, 3]))


@pytest.mark.filterwarnings("ignore:resumed")
@settings(max_examples=120, deadline=None)
@given(cases(), st.integers(0, 10**6))
def test_behind_every_batch(tmp_path_factory, case, at):
    chain, options, prefetch = case
    whole = chained(chain)
    expected = read(whole.gen_batch(**options))
    if not expected:
        return
    ends, at = outcome(whole), 1 + at % len(expected)
    folder = tmp_path_factory.mktemp("run")
    first = chained(chain)
    with first.gen_batch(**options, checkpoint=folder, prefetch=prefetch) as run:
        before = read(run, at)
        state = run.state_dict()
    assert len(json.dumps(state)) < 1024
    np.random.rand(9)
    again = chained(chain)
    with again.gen_batch(**options, checkpoint=folder, prefetch=3 - prefetch) as run:
        after = read(run)
    assert before + after == expected
    assert outcome(again) == ends
    assert read(chained(chain).gen_batch(**options, state=state)) == expected[at:]
    finished = chained(chain)
    assert read(finished.gen_batch(**options, checkpoint=folder)) == []
    assert finished.v("seen") == ends[0]


def test_in_processes_too(tmp_path):
    chain, options = AHEAD["noise"] + AHEAD["rebatch"] + TRAINING, {"shuffle": True, "seed": 3}
    expected = read(chained(chain).gen_batch(4, **options, n_epochs=2))
    far = {"executor": "processes", "n_workers": 1, "checkpoint": tmp_path}
    with chained(chain).gen_batch(4, **options, n_epochs=2, **far) as run:
        before = read(run, 7)
    with chained(chain).gen_batch(4, **options, n_epochs=2, **far) as run:
        assert before + read(run) == expected


def test_epoch_by_epoch_also_where_one_was_left(tmp_path):
    chain = AHEAD["noise"] + TRAINING
    options = {"batch_size": 5, "shuffle": True, "seed": 2, "n_epochs": 3}

    def epochs(run, leave_at=None):
        got = []
        for epoch in run.epochs():
            for place, batch in enumerate(epoch):
                got.append((epoch.number, batch.x.tolist()))
                if leave_at == (epoch.number, place):
                    break
        return got

    expected = epochs(chained(chain).gen_batch(**options))
    with chained(chain).gen_batch(**options, checkpoint=tmp_path) as run:
        assert epochs(run, (0, 1))[:2] == expected[:2]
    with chained(chain).gen_batch(**options, checkpoint=tmp_path) as run:
        assert epochs(run) == []
    folder = tmp_path / "other"
    with chained(chain).gen_batch(**options, checkpoint=folder) as run:
        epoch = next(run.epochs())
        first = [(0, next(epoch).x.tolist()) for _ in range(2)]
    with chained(chain).gen_batch(**options, checkpoint=folder) as run:
        assert first + epochs(run) == expected


def test_more_epochs_may_follow_and_other_workers_may_make_them(tmp_path):
    chain = AHEAD["noise"] + TRAINING
    whole = chained(chain).run(4, seed=5, shuffle=True, n_epochs=3)
    ends = outcome(whole)
    chained(chain).run(4, seed=5, shuffle=True, n_epochs=1, checkpoint=tmp_path)
    again = chained(chain)
    again.run(4, seed=5, shuffle=True, n_epochs=3, checkpoint=tmp_path, prefetch=2)
    assert outcome(again) == ends


def test_a_drawn_seed_and_order_are_those_of_the_run_that_goes_on(tmp_path):
    chain = AHEAD["noise"] + TRAINING
    options = {"batch_size": 4, "shuffle": True, "n_epochs": 2, "checkpoint": tmp_path}
    with chained(chain).gen_batch(**options) as run:
        before, seed = read(run, 5), run.seed
    with chained(chain).gen_batch(**options) as run:
        assert run.seed == seed
        whole = before + read(run)
    assert read(chained(chain).gen_batch(4, shuffle=True, seed=seed, n_epochs=2)) == whole


def test_a_stopped_run_is_over(tmp_path):
    chain = TRAINING + Pipeline().stop_at(3)
    options = {"batch_size": 4, "checkpoint": Checkpoint(tmp_path, every_n_batches=1)}
    first = chained(chain).run(**options)
    again = chained(chain).run(**options)
    assert first.v("asked") == again.v("asked") == [0, 1, 2, 3]
    assert outcome(first)[:3] == outcome(again)[:3]


def test_nothing_is_saved_when_an_error_ends_the_run(tmp_path):
    class Failing(Rows):
        @action(singleton=True)
        def fail(self, at):
            if self.number == at:
                raise ValueError("no")
            return self

    chain = Pipeline().update(V("seen", "e"), B.x)
    saving = Checkpoint(tmp_path, every_n_batches=2)
    with pytest.raises(ValueError, match="no"):
        chained(chain + Pipeline().fail(5), rows(Failing)).run(4, checkpoint=saving)
    again = chained(chain + Pipeline().fail(9), rows(Failing))
    again.run(4, checkpoint=saving, changed="allow")
    assert again.v("seen") == list(range(N))


CHANGES = {
    "batch_size": ({"batch_size": 5}, "batch_size was 4, and is 5"),
    "seed": ({"seed": 9}, "seed was 3, and is 9"),
    "shuffle": ({"shuffle": 4}, "shuffle was 3, and is 4"),
    "order": ({"shuffle": Weighted(np.arange(N))}, "shuffle was"),
    "drop_last": ({"drop_last": True}, "drop_last was False"),
    "first_epoch": ({"first_epoch": 1}, "first_epoch was 0"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_refused_and_told(tmp_path, change):
    other, told = CHANGES[change]
    options = {"batch_size": 4, "shuffle": True, "seed": 3, "checkpoint": tmp_path}
    chained(TRAINING).run(**options)
    with pytest.raises(ArgumentValueError, match=told):
        chained(TRAINING).run(**{**options, **other})
    chained(TRAINING).run(**{**options, **other}, changed="allow")


def test_other_ids_and_other_steps_are_refused(tmp_path):
    options = {"batch_size": 4, "checkpoint": tmp_path}
    chained(AHEAD["rebatch"] + TRAINING).run(**options)
    with pytest.raises(ArgumentValueError, match="ids of the dataset are others"):
        chained(AHEAD["rebatch"] + TRAINING, rows(n=22)).run(**options)
    with pytest.raises(ArgumentValueError, match=r"arguments are others \('0 rebatch"):
        chained(Pipeline().rebatch(6) + TRAINING).run(**options)


def test_changed_code_is_told_by_a_warning(tmp_path):
    def made(factor):
        class Coded(ArrayBatch):
            components = "x"

            if factor == 2:

                @action
                def scale(self):
                    self.x = self.x * 2
                    return self
            else:

                @action
                def scale(self):
                    self.x = self.x * 3
                    return self

        return Dataset.from_arrays(Coded, x=np.arange(8.0)).p.scale()

    with made(2).gen_batch(4, checkpoint=tmp_path) as run:
        next(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(2).gen_batch(4, checkpoint=tmp_path).close()
    with pytest.warns(UserWarning, match="code of an action has changed"):
        made(3).gen_batch(4, checkpoint=tmp_path).close()


def test_steps_before_are_taken_at_every_start_and_once_steps_once(tmp_path):
    calls = []
    chain = Pipeline().before.call(calls.append, "before").main
    chain = chain.once.call(calls.append, "once").main + TRAINING
    options = {"batch_size": 4, "checkpoint": tmp_path, "n_epochs": 2}
    with chained(chain).gen_batch(**options) as run:
        next(run)
    chained(chain).run(**options)
    assert calls == ["once", "before", "before"]
    chained(chain).run(**options)
    assert calls == ["once", "before", "before"]


def test_a_regrouping_behind_ordered_steps_can_be_saved_at_the_ends_of_epochs(tmp_path):
    chain = TRAINING + AHEAD["rebatch"]
    options = {"batch_size": 4, "n_epochs": 3, "seed": 1, "shuffle": True}
    whole = chained(chain)
    expected = read(whole.gen_batch(**options))
    saving = Checkpoint(tmp_path, every_n_batches=1)
    with chained(chain).gen_batch(**options, checkpoint=saving) as run:
        before = read(run, 7)  # two of the second epoch
        with pytest.raises(BatchflowError, match=r"rebatch.*has none at the end of an"):
            run.state_dict()
        with pytest.raises(BatchflowError, match="no state that could be resumed"):
            run.checkpoint()
    again = chained(chain)
    with again.gen_batch(**options, checkpoint=saving) as run:
        assert before[:5] + read(run) == expected
    assert again.v("seen") == whole.v("seen")


def test_a_variable_or_a_model_that_is_no_data_is_refused_by_name(tmp_path):
    chain = Pipeline().init_variable("odd", init=lambda: [object()]) + TRAINING
    with pytest.raises(ArgumentTypeError, match=r"the variable 'odd'\[0\] is a object"):
        chained(chain).run(4, checkpoint=tmp_path)

    class Odd(Rows):
        @model()
        def weights():
            return {"w": np.zeros(3), "n": 0, "lock": __import__("threading").Lock()}

    with pytest.raises(ArgumentTypeError, match="the model 'weights'"):
        chained(TRAINING, rows(Odd)).run(4, checkpoint=tmp_path / "other")


def test_resume_never_begins_anew_and_must_needs_something(tmp_path):
    chain = AHEAD["noise"] + TRAINING
    with pytest.raises(ArgumentValueError, match="there is no checkpoint"):
        chained(chain).run(4, checkpoint=tmp_path, resume="must")
    with chained(chain).gen_batch(4, seed=1, checkpoint=tmp_path) as run:
        read(run, 3)
    with chained(chain).gen_batch(4, seed=2, checkpoint=tmp_path, resume="never") as run:
        assert read(run, 2)[0][0] == 0
    with chained(chain).gen_batch(4, seed=2, checkpoint=tmp_path, resume="must") as run:
        assert next(run).number == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"resume": "perhaps", "checkpoint": "a"}, 'resume is "auto"'),
        ({"resume": "must"}, "goes with checkpoint="),
        ({"changed": "yes"}, 'changed is "refuse"'),
        ({"state": {}, "checkpoint": "a"}, "give checkpoint"),
        ({"state": {}}, "state is what"),
        ({"state": {"format": 9}}, "format 9"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ArgumentValueError, match=told):
        rows().p.gen_batch(4, **options)


@pytest.mark.parametrize("options", [{"checkpoint": "saved"}, {"state": {}}], ids=["save", "state"])
def test_a_pipeline_that_is_merged_cannot_be_saved_by_itself(options):
    rows = Dataset.from_arrays(Rows, x=np.arange(8.0))
    merged = rows.p.merge(rows.p.run_later(2, **options))
    with pytest.raises(ArgumentValueError, match=f"{next(iter(options))}= .*give .* to that one"):
        merged.run(2)


def test_keep_goes_by_a_variable_and_the_epochs_ends_are_moments(tmp_path, capsys):
    from batchflow.checkpoints.store import found

    chain = Pipeline().update(V("asked", "a"), B.x[0]) + TRAINING
    keep = Keep(last=1, best=("asked", "max", 1))
    saving = Checkpoint(tmp_path, every_n_batches=1, keep=keep)
    with chained(chain).gen_batch(4, checkpoint=saving, shuffle=5) as run:
        best = max((batch.x[0], place) for place, batch in enumerate(run, start=1))[1]
    assert {step for step, _ in found(tmp_path)} == {best, 6}
    folder = tmp_path / "epochs"
    with chained(chain).gen_batch(4, checkpoint=folder, n_epochs=4) as run:
        read(run, 15)
    assert [step for step, _ in found(folder)] == [15, 12, 6]
    chained(chain).gen_batch(4, checkpoint=folder, n_epochs=4).close()
    assert "resumed at step 15 of run" in capsys.readouterr().err


def test_shards_save_each_in_a_folder_and_go_on_together(tmp_path):
    options = {"batch_size": 3, "shuffle": True, "seed": 4, "n_epochs": 2}
    shards = [rows().shard(k, 2) for k in range(2)]
    expected = [read(chained(AHEAD["noise"], s).gen_batch(**options)) for s in shards]
    before = []
    for shard, n in zip(shards, (3, 5), strict=True):
        saving = Checkpoint(tmp_path, every_n_batches=1, keep=Keep(last=9))
        with chained(AHEAD["noise"], shard).gen_batch(**options, checkpoint=saving) as run:
            before.append(read(run, n))
    runs = [chained(AHEAD["noise"], s).gen_batch(**options, checkpoint=tmp_path) for s in shards]
    for run, whole in zip(runs, expected, strict=True):
        with run:
            assert read(run) == whole[3:]
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {"rank_0_of_2", "rank_1_of_2"}
    third = rows().shard(0, 3)
    with chained(AHEAD["noise"], third).gen_batch(**options, checkpoint=tmp_path) as run:
        assert read(run) == []  # behind the end, which is a border


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        (lambda p: p.train().rebatch(5).add(), "rebatch"),
        (lambda p: p.merge(rows().p.add()).train(), "a pipeline inside of this one"),
    ],
)
def test_a_dynamic_model_that_could_not_be_made_again_is_refused_at_once(tmp_path, chain, told):
    with pytest.raises(ArgumentTypeError, match=f"the dynamic model 'first' is made from .*{told}"):
        chain(rows().p).gen_batch(4, checkpoint=tmp_path)


def test_a_dynamic_model_of_merged_batches_is_made_again_and_the_others_go_on(tmp_path):
    chain = lambda: rows().p.noise().merge(rows().p.noise()).add()  # noqa: E731
    options = {"shuffle": True, "seed": 2, "n_epochs": 3, "prefetch": 2}
    whole, state = chain(), Checkpoint(tmp_path, every_n_batches=1)
    want = [batch.x.tolist() for batch in whole.gen_batch(4, **options)]
    with chain().gen_batch(4, checkpoint=state, **options) as run:
        for _ in range(8):
            next(run)
    again = chain()
    assert [b.x.tolist() for b in again.gen_batch(4, checkpoint=state, **options)] == want[8:]
    assert again.m("first")["sum"] == whole.m("first")["sum"]
