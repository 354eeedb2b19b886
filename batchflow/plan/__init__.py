"""What will happen: the steps of a chain as frozen data, and what they mean. No threads.

steps.py      Step, Chance, Hooks: what was chained
plan.py       Plan: the steps, variables, models and settings of a chain
binding.py    looks up what a step means for a batch class and a dataset
bound.py      BoundStep, BoundPlan: what was found; where the ordered section is
groups.py     checks of steps that take several batches in one call
names.py      what a name in a chain means
builtin.py    the steps that every batch class has; model_steps.py those on models, several.py
              those that make other batches: join, merge, concat, rebatch, mix_rows and pack
expressions.py, leaves.py   values that are not there yet: B, V, C, ...
"""

from batchflow.plan.bound import Bound, BoundChance, BoundPlan, BoundRegrouping, BoundStep
from batchflow.plan.config import Config
from batchflow.plan.declared import DeclaredModel, Variable
from batchflow.plan.leaves import PP, B, C, D, F, I, L, P, R, V, W
from batchflow.plan.plan import Plan, check_plan
from batchflow.plan.several import Concat, Joined, Merge, MixRows, Pack, Rebatch, Regrouping
from batchflow.plan.steps import Chance, HookName, Hooks, Step, Where

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
    "MixRows",
    "P",
    "Pack",
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
