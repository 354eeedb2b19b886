"""What will happen: frozen steps, variables, the ordered section. Pure data, no threads."""

from batchflow.plan.config import Config
from batchflow.plan.leaves import B, C, D, F, I, R, V, W
from batchflow.plan.plan import BoundPlan, Plan
from batchflow.plan.steps import BoundChance, BoundStep, Chance, Step, Where
from batchflow.plan.variables import Variable

__all__ = [
    "B",
    "BoundChance",
    "BoundPlan",
    "BoundStep",
    "C",
    "Chance",
    "Config",
    "D",
    "F",
    "I",
    "Plan",
    "R",
    "Step",
    "V",
    "Variable",
    "W",
    "Where",
]
