"""When to commit: often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Cadence:
    """Says at a round's end whether a commit is due.

    Due once ``max(minimum, cost / share)`` seconds have passed since the last commit ended, where
    ``cost`` is the mean of the last three commits: commits then take at most about ``share`` of a
    run, whatever the disk, and a kill loses at most that interval and one round.

    Args:
        minimum: seconds; no commit comes sooner after the last.
        share: of the time, in (0, 1), that commits may take.
        clock: seconds from any origin that never run backwards.
    """

    def __init__(
        self,
        *,
        minimum: float = 1.0,
        share: float = 0.02,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not minimum >= 0 or not 0 < share < 1:
            raise ValueError(
                f"Expected minimum >= 0 and 0 < share < 1, got minimum={minimum}, share={share}."
            )
        self.minimum = minimum
        self.share = share
        self.spent = 0.0
        self._clock = clock
        self._last = clock()
        self._begun: float | None = None
        self._costs: deque[float] = deque(maxlen=3)

    @property
    def interval(self) -> float:
        """Seconds between the end of a commit and the next."""
        cost = sum(self._costs) / len(self._costs) if self._costs else 0.0
        return max(self.minimum, cost / self.share)

    def due(self) -> bool:
        """Whether the round that just ended should be committed."""
        return self._clock() - self._last >= self.interval

    def __enter__(self) -> Cadence:
        self._begun = self._clock()
        return self

    def __exit__(self, *error: object) -> None:
        now = self._clock()
        cost = now - (now if self._begun is None else self._begun)
        self.spent += cost
        self._costs.append(cost)
        self._last = now
