"""What type checkers make of expressions. Checked by `make types`, and run by a test."""

from typing import assert_type

import numpy as np

from batchflow import PP, B, C, D, Expression, F, I, L, P, R, V, W
from batchflow.plan.expressions import Operation

# ---- operators, with the expression on the left, on the right and on both sides

assert_type(B.images + 1, Operation)
assert_type(B.images - 1, Operation)
assert_type(B.images * 2, Operation)
assert_type(B.images / 255, Operation)
assert_type(B.images // 2, Operation)
assert_type(B.images % 2, Operation)
assert_type(B.images**2, Operation)
assert_type(B.images @ B.weights, Operation)
assert_type(B.mask & B.other, Operation)
assert_type(B.mask | True, Operation)
assert_type(B.mask ^ B.other, Operation)
assert_type(B.flags << 1, Operation)
assert_type(B.flags >> 1, Operation)

assert_type(1 + B.x, Operation)
assert_type(1 - B.x, Operation)
assert_type(2 * B.x, Operation)
assert_type(1 / B.x, Operation)
assert_type(7 // B.x, Operation)
assert_type(7 % B.x, Operation)
assert_type(2**B.x, Operation)
assert_type(True & B.x, Operation)
assert_type(1 | B.x, Operation)
assert_type(1 ^ B.x, Operation)
assert_type(1 << B.x, Operation)
assert_type(1 >> B.x, Operation)
assert_type(np.ones(3) * B.x, Operation)
assert_type(np.ones((3, 3)) @ B.x, Operation)
assert_type(np.float32(2) - B.x, Operation)
assert_type("prefix" + B.name, Operation)
assert_type("ab" * B.x, Operation)

assert_type(B.a + B.b, Operation)
assert_type(-B.x, Operation)
assert_type(+B.x, Operation)
assert_type(~B.mask, Operation)
assert_type(abs(B.x), Operation)

assert_type(B.x < 3, Operation)
assert_type(B.x <= 3, Operation)
assert_type(B.x > 3, Operation)
assert_type(B.x >= 3, Operation)
assert_type(B.x == 3, Operation)
assert_type(B.x != 3, Operation)
assert_type(3 < B.x, Operation)  # noqa: SIM300  the other way round is the point
assert_type(np.ones(3) < B.x, Operation)
assert_type((B.x > 0) & ~(B.y < 3), Operation)

# ---- attributes, items, calls

assert_type(B.images, Expression)
assert_type(B("images"), Expression)
assert_type(B.images[1:, ..., 0], Operation)
assert_type(B.images.mean(), Expression)
assert_type(B.images.mean(axis=0) * V("scale"), Operation)
assert_type(B.number.format("{:05d}"), Operation)
assert_type(B.number.str() + ".png", Operation)

# ---- the other leaves

assert_type(V("a") / 2, Operation)
assert_type(V("losses", mode="a"), V)
assert_type(C("model/units", default=64) * 2, Operation)
assert_type(C.units, Expression)
assert_type(D.name, Expression)
assert_type(I.current % 10 == 0, Operation)
assert_type(R.normal(0, 1, size=3) + 1, Operation)
assert_type(R("normal", 0, 1), Expression)
assert_type(F(len)(B.x) + 1, Operation)
assert_type(L(sorted)(B.x)[0], Operation)
assert_type(P(R.normal(0, 1)), P)
assert_type(PP(B.x), PP)
assert_type(W(B.x), W)
