"""What will happen: frozen steps, variables, the ordered section. Pure data, no threads."""

from batchflow.plan.bound import Bound, BoundChance, BoundPlan, BoundRegrouping, BoundStep
from batchflow.plan.checks import check_plan
from batchflow.plan.config import Config
from batchflow.plan.declared import DeclaredModel
from batchflow.plan.leaves import PP, B, C, D, F, I, L, P, R, V, W
from batchflow.plan.plan import Plan
from batchflow.plan.several import Concat, Joined, Merge, Rebatch, Regrouping
from batchflow.plan.steps import Chance, HookName, Hooks, Step, Where
from batchflow.plan.variables import Variable

__all__ = [
    "PP",
    "B",
    "Bound",
    "BoundChance",
    "BoundPlan",
    "BoundRegrouping",
    "BoundStep",
    "C",
    "Chance",
    "Concat",
    "Config",
    "D",
    "DeclaredModel",
    "F",
    "HookName",
    "Hooks",
    "I",
    "Joined",
    "L",
    "Merge",
    "P",
    "Plan",
    "R",
    "Rebatch",
    "Regrouping",
    "Step",
    "V",
    "Variable",
    "W",
    "Where",
    "check_plan",
]
