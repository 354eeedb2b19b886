"""Where the next batches are made: in the workers or in the consumer's thread.

Handing a batch to a thread and waking up for it costs some 50 microseconds, and small NumPy calls
in several threads slow each other down by passing the interpreter lock around: measured on two
cores, a batch of twenty calls of 10 microseconds took 0.18 ms in one thread and 0.29 to 0.47 ms in
several. No figure is right for all work (a read of 0.2 ms gains from threads, arithmetic loses), so
the pace is found out by trying: what one batch costs the consumer each way. The first batch is
handed over alone: if it is quick, no threads are started before that is found out.

Guarantees:
    - Nothing of it shows in the results, only in the time.
    - Batches that take longer than `SLOW` are handed over, and those that take less than `FAST` are
      made in turn; when the work changes from the one to the other, from the next choice on, after
      at least `SPELL` batches.
    - Trying the way that turns out slower costs at most about 1 / `PATIENCE` of the time.
    - Work that takes long is begun `LOOK` seconds later than it could be, once.
"""

from __future__ import annotations

SLOW = 1e-3  # seconds of work per batch
FAST = 5e-5  # the same: no more than handing over costs
LOOK = 5e-4  # for so long the first batch is alone: a thread starts, and the work's code is cold
SPELL = 8  # batches that make a measurement
PATIENCE = 50

# For tests: hand over every batch, whatever it costs. The most interleavings.
always_hand_over = False


class Pace:
    """Chooses between handing batches over and making them in turn, spell by spell.

    Args:
        ahead: How many batches are under way when batches are handed over. After a change of the
            way as many, or `SPELL` if that is less, are not counted.

    Attributes:
        hands_over: The choice for the next batch.
    """

    def __init__(self, ahead: int) -> None:
        self.hands_over = True
        self._warm_up = min(ahead, SPELL)
        self._costs: dict[bool, float] = {}  # by way, the seconds that a batch cost the consumer
        self._start_spell(hands_over=True, seconds=0.0)

    def _start_spell(self, *, hands_over: bool, seconds: float) -> None:
        """Go on for `SPELL` batches, and until they have cost `seconds`."""
        is_a_change = hands_over != self.hands_over or not self._costs
        self._uncounted = self._warm_up if is_a_change else 0
        self.hands_over = hands_over
        self._least_seconds = seconds
        self._count = 0
        self._seconds = 0.0
        self._largest = 0.0
        self._worked = float("inf")

    def record(self, seconds: float, worked: float) -> None:
        """Record one batch.

        Args:
            seconds: The time that it cost the consumer: working, or handing over and waiting.
            worked: The time that the work on it took, wherever it was done.
        """
        if self._uncounted:
            self._uncounted -= 1
            if worked < FAST:
                self.try_in_turn()
            return
        self._count += 1
        self._seconds += seconds
        if seconds > self._largest:
            self._largest = seconds
        if worked < self._worked:
            self._worked = worked
        if self._count >= SPELL and self._seconds >= self._least_seconds:
            self._choose()

    def try_in_turn(self) -> None:
        """Make the next batches in turn, as they seem to be quick, if that was not tried yet."""
        if self.hands_over and False not in self._costs and not always_hand_over:
            self._start_spell(hands_over=False, seconds=0.0)

    def _choose(self) -> None:
        # Without the largest: one hiccup of the machine must not decide.
        way, cost = self.hands_over, (self._seconds - self._largest) / (self._count - 1)
        self._costs[way] = cost
        if always_hand_over or (way and (self._worked > SLOW or cost < self._worked / 8)):
            self._start_spell(hands_over=True, seconds=0.0)
            return
        if not way and cost < FAST:
            self._start_spell(hands_over=False, seconds=20 * SPELL * cost)
            return
        was_a_try = self._least_seconds == 0.0
        other = self._costs.get(not way)
        if other is None or not was_a_try:
            self._start_spell(hands_over=not way, seconds=0.0)
            return
        lost = abs(cost - other) * (SPELL + self._warm_up)
        best_way, best = (way, cost) if cost <= other else (not way, other)
        self._start_spell(hands_over=best_way, seconds=max(PATIENCE * lost, 20 * SPELL * best))
