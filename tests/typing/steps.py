"""Steps and options of runs, as type checkers see them. Checked by `make types`, not run.

What must be refused has an ignore, which is itself refused where there is nothing to ignore.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Unpack, assert_type

import numpy as np

from batchflow import (
    ArrayBatch,
    B,
    Dataset,
    Pipeline,
    Run,
    RunKeywords,
    V,
    action,
    apply_parallel,
    model,
)


class Halves(ArrayBatch):
    @action
    def double(self) -> "Halves":
        return self


class Numbers(ArrayBatch):
    components = "x", "y"

    @model()
    def net() -> list[float]:
        return []

    @action
    def scale(self, factor: float) -> "Numbers":
        return self

    @action(model="net", singleton=True)
    def train(self, net: list[float], rate: float = 0.1) -> "Numbers":
        return self

    @action(expands=2, gives=Halves)
    def halves(self) -> Halves:
        return self.repeat(2, Halves, data=self.x)

    @action(expands=True)
    def some(self) -> "Numbers":
        return self.repeat([1, 0])

    @apply_parallel(src="x", target="threads")
    def halve(self, number: float) -> float:
        return number / 2

    @apply_parallel
    def negate(self, number: float) -> float:
        return -number


numbers = Dataset.from_arrays(Numbers, x=np.arange(4), y=np.arange(4))

# ---- each step gives a pipeline, and all behind it is known

assert_type(numbers.p.scale(2), Pipeline[Numbers])
assert_type(numbers.p.halve(src="y").negate(src="x"), Pipeline[Numbers])
assert_type(numbers.p.scale(2).run(2), Pipeline[Numbers])
assert_type(numbers.p.scale(2).run(2).v("loss"), Any)
assert_type(numbers.p.scale(2).train(rate=B.x.mean()).gen_batch(2), Run[Numbers])
assert_type(numbers.p.load(src=np.ones(4), components="x").scale(2), Pipeline[Numbers])
assert_type(numbers.p.map(np.sqrt, src="x").filter(B.x > 1), Pipeline[Numbers])
assert_type(
    numbers.p.init_variables({"loss": {"init": list}})
    .init_model("other", list)
    .train_model("other", B.x, B.y, save_to=V("loss", mode="a"))
    .evaluate_model("other", B.x, B.y, fetches="loss", save_to=V("score"))
    .predict_model("other", B.x, save_to=B.y),
    Pipeline[Numbers],
)
assert_type(numbers.p.merge(numbers).rebatch(3).join(numbers), Pipeline[Numbers])
assert_type(numbers.p.some().mix_rows(2).pad("x").pack(8, "x", segment="y"), Pipeline[Numbers])
assert_type(numbers.p.concat(numbers).scale(2), Pipeline[Numbers])
assert_type(numbers.p.before.call(print).main.scale(2), Pipeline[Numbers])
assert_type(numbers.p.once.call(print).after.save_model("net", "net.npz"), Pipeline[Numbers])
assert_type(numbers.p.load_model("net", path="net.npz").scale(2), Pipeline[Numbers])
assert_type(numbers.p.reset("all"), Pipeline[Numbers])

# ---- batches of another class

assert_type(numbers.p.halves(), Pipeline[Numbers])  # no checker sees which step it is
assert_type(numbers.p.halves().gives(Halves), Pipeline[Halves])
assert_type(numbers.p.halves().gives(Halves).double().gen_batch(2), Run[Halves])
assert_type(Numbers(4).halves(), Halves)

# ---- options

numbers.gen_batch(2, shuffle=np.random.default_rng(1), n_epochs=None, prefetch=4, n_workers=2)
numbers.p.scale(2).run(2, executor=ThreadPoolExecutor(2), bar=V("loss"), seed=1, drop_last=True)


def short(pipeline: Pipeline[Numbers], **options: Unpack[RunKeywords]) -> Run[Numbers]:
    return pipeline.gen_batch(2, **options)


# ---- what is refused

numbers.gen_batch(2, shufle=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
numbers.p.scale(2).run("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
short(numbers.p, n_epochs="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Dataset(4, list)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
Dataset[int]  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
B.x.mean().set()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
