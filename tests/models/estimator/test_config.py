"""RunConfig: what its settings may be."""

import numpy as np
import pytest

from batchflow.models import RunConfig

COUNTS = (
    *("tf_random_seed", "save_checkpoints_steps", "keep_checkpoint_max"),
    *("save_summary_steps", "log_step_count_steps"),
)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3)], ids=["int", "int64", "array"])
def test_a_count_is_any_whole_number(name, value):
    found = getattr(RunConfig(**{name: value}), name)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [True, 1.0, "1", np.array([1, 2])], ids=str)
def test_what_is_no_whole_number_is_refused(name, value):
    with pytest.raises(TypeError, match=f"RunConfig: {name} is an int"):
        RunConfig(**{name: value})


@pytest.mark.parametrize("value", [0, 2.5, np.float32(2.5), np.int64(2)])
def test_seconds_are_any_number(value):
    assert RunConfig(save_checkpoints_secs=value).save_checkpoints_secs == value


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_seconds_below_zero_are_refused(value):
    with pytest.raises(ValueError, match="save_checkpoints_secs is at least 0"):
        RunConfig(save_checkpoints_secs=value)


@pytest.mark.parametrize("value", [True, "1"])
def test_seconds_that_are_no_number_are_refused(value):
    with pytest.raises(TypeError, match="save_checkpoints_secs is a number"):
        RunConfig(save_checkpoints_secs=value)
