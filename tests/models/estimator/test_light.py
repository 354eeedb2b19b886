"""Importing the model systems loads no framework."""

from own_process import run_alone


def test_the_names_are_there_without_a_framework():
    code = """
import sys
import batchflow.models as models
for name in models.__all__:
    getattr(models, name)
models.Estimator(lambda features, labels, mode: None, "folder")
models.Regressor("train", lambda mode, features: features, "mse")
print(sorted({"keras", "tensorflow", "jax", "torch", "tensorboard"} & set(sys.modules)))
"""
    assert run_alone(code).stdout.strip() == "[]"
