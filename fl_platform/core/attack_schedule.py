"""When an attack plays and how strongly: a pure function of the round."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AttackSchedule:
    """The rounds of an attack, its strength in each, and when other clients become Byzantine.

    .. math:: a(t) = \\min(1, (t - s + 1) / r) \\text{ for } s \\le t < e, \\text{ else } 0

    A Byzantine client sends ``u + a(t) (b - u)``: b is what the attack sends at full strength; u
    is the client's own update where its clients train, else the mean of the updates that the
    attack knows. In rounds with a(t) = 0 all clients train and send their own updates, and the
    defense assumes the same f as before.

    Attributes:
        start: s, the first round with the attack, from 0.
        stop: e, the first round without it again; ``None`` for none.
        ramp: r, rounds until full strength; 0 for full strength at once.
        switch: rounds until another f clients are drawn to be Byzantine; ``None`` for never.

    >>> from fl_platform.core.attack_schedule import AttackSchedule
    >>> schedule = AttackSchedule(start=1, stop=5, ramp=2, switch=3)
    >>> [schedule.strength(t) for t in range(6)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.0]
    >>> [schedule.draw(t) for t in range(7)]
    [0, 0, 0, 1, 1, 1, 2]

    Source: FLPoison (``attack_start_epoch``) and krum-lib (``stop_attack_at``) have start and
    stop; A. Godichon-Baggioni et al. (2026) let the identities switch.
    """

    start: int = 0
    stop: int | None = None
    ramp: int = 0
    switch: int | None = None

    def __post_init__(self) -> None:
        for name, low in (("start", 0), ("ramp", 0), ("switch", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name}: expected a number of rounds >= {low}, got {value}.")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(
                f"stop: expected a round after start={self.start} or null, got {self.stop}."
            )

    def strength(self, round_index: int) -> float:
        """a(t), from 0 to 1."""
        since = round_index - self.start
        if since < 0 or (self.stop is not None and round_index >= self.stop):
            return 0.0
        return min(1.0, (since + 1) / self.ramp) if self.ramp else 1.0

    def draw(self, round_index: int) -> int:
        """How often the Byzantine clients have been drawn anew before round t."""
        return round_index // self.switch if self.switch else 0

    @property
    def rests(self) -> bool:
        """Whether there are rounds in which Byzantine clients train like honest ones."""
        return self.start > 0 or self.stop is not None


ALWAYS = AttackSchedule()
