"""The choice between handing batches over and making them in turn, from given times."""

import pytest

from batchflow.engine.pace import FAST, SLOW, SPELL, Pace


def paced(pace, seconds, n_batches=20 * SPELL):
    """Let batches of so many seconds go by, whichever way they are made."""
    for _ in range(n_batches):
        pace.record(seconds, seconds)
    return pace.hands_over


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_quick_batches_are_made_in_turn(ahead):
    assert not paced(Pace(ahead), FAST / 4)


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_slow_batches_are_handed_over(ahead):
    assert paced(Pace(ahead), 2 * SLOW)


def test_slow_batches_are_handed_over_after_a_quick_first_one():
    pace = Pace(4)
    pace.try_in_turn()
    assert not pace.hands_over
    assert paced(pace, 2 * SLOW)


def test_work_that_becomes_slow_is_handed_over_after_a_spell():
    pace = Pace(4)
    paced(pace, FAST / 4)
    assert paced(pace, 2 * SLOW, 2 * SPELL)


def test_a_way_that_was_measured_is_not_tried_for_one_quick_batch():
    pace = Pace(4)
    pace.try_in_turn()
    assert paced(pace, 2 * SLOW)
    pace.try_in_turn()
    assert pace.hands_over


def test_quick_batches_in_turn_are_measured():
    pace = Pace(4)
    paced(pace, FAST / 4)
    assert set(pace._costs) == {False}
