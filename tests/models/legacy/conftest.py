"""Tests of `tf_keras` descriptors, with the extra `legacy`: `pytest tests/models/legacy -m legacy`.

Without `-m legacy` they are not collected: `tf_keras` is for those who have models of that time.
With it, and without `tf_keras`, they fail.
"""


def pytest_ignore_collect(config):
    chosen = config.option.markexpr
    return True if "legacy" not in chosen or "not legacy" in chosen else None
