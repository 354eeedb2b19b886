"""What will happen: frozen steps, variables, the ordered section. Pure data, no threads."""

from batchflow.plan.plan import BoundPlan, Plan
from batchflow.plan.steps import BoundStep, Step, Where
from batchflow.plan.variables import Variable

__all__ = ["BoundPlan", "BoundStep", "Plan", "Step", "Variable", "Where"]
