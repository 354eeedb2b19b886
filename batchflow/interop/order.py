"""Whether a pipeline has steps that nobody may run ahead of."""

from __future__ import annotations

from typing import Any

from batchflow.engine.program import nested_in


def has_order(plan: Any) -> bool:
    """Check for ordered steps, and steps behind the last batch, here and in pipelines inside."""
    if any(plan.ordered) or plan.hooks.after:
        return True
    return any(has_order(nested.pipeline._bound_plan()) for nested in nested_in(plan))
