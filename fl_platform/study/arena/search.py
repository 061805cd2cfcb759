"""Which runs an arena still needs: a pure function of its settings and the runs that are done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fl_platform.study.arena.spec import ArenaSpec

Attack = tuple[str, ...]
NONE: Attack = ("attack=none",)
WORST = 0.0  # the accuracy that a diverged run counts with
_DEFAULTS = {"length": "1", "scatter": "none", "period": "0", "begin": "0"}  # of `directional`


@dataclass(frozen=True)
class Trial:
    """One run of an arena.

    Attributes:
        attack: overrides.
        seed: of the run.
        on: the set on which it is evaluated.
        rounds: its length.
        reference: whether it is the plain mean without pre-aggregation, not the defense.
    """

    attack: Attack
    seed: int
    on: Literal["validation", "test"]
    rounds: int
    reference: bool = False


@dataclass(frozen=True)
class Played:
    """What a trial gave: accuracy after each round in percent, and why it diverged, if it did."""

    curve: tuple[float, ...]
    reason: str = ""


Done = Mapping[Trial, Played]


@dataclass(frozen=True)
class Stages:
    """The runs of one arena, stage by stage.

    Attributes:
        spec: settings.
        rounds: of the task.
        tail: evaluations in the mean at the end.
        listed, adaptive: the attackers of the file, sweeps expanded.
    """

    spec: ArenaSpec
    rounds: int
    tail: int
    listed: tuple[Attack, ...]
    adaptive: tuple[Attack, ...]

    def pending(self, done: Done) -> list[Trial]:
        """The runs of the first stage that is not complete; empty once the arena is."""
        for stage in self.stages(done):
            missing = [trial for trial in stage if trial not in done]
            if missing:
                return missing
        return []

    def stages(self, done: Done) -> Iterable[list[Trial]]:
        """The stages that can be planned from what is done, each a list of its runs.

        Listed and adaptive attackers on the first validation seed; variants of the worst; the
        worst on all validation seeds; the worst of these on test data and fresh seeds.
        """
        first = [*dict.fromkeys(self.listed + self.adaptive)]
        stage = [self._search(attack) for attack in first]
        yield stage
        if any(trial not in done for trial in stage):
            return
        variants = [*dict.fromkeys(self._variants(done))]
        stage = [self._search(attack) for attack in variants]
        yield stage
        if any(trial not in done for trial in stage):
            return
        chosen = self.ranked(done, [*dict.fromkeys(first + variants)])[: self.spec.confirm]
        stage = [self._search(attack, seed) for attack in chosen for seed in self.spec.seeds]
        yield stage
        if any(trial not in done for trial in stage):
            return
        yield self.finals(self.selected(done, chosen))

    def finals(self, attacks: Sequence[Attack]) -> list[Trial]:
        """The final runs: attackers, no attack, and the plain mean without attack."""
        long, seeds = self.rounds * self.spec.final.horizon, self.spec.final.seeds
        trials = [Trial(a, s, "test", long) for a in (NONE, *attacks) for s in seeds]
        return trials + [Trial(NONE, seed, "test", long, reference=True) for seed in seeds]

    def worst(self, done: Done) -> list[Attack]:
        """The attackers of the final stage, the worst on validation first."""
        first = [*dict.fromkeys(self.listed + self.adaptive)]
        everyone = [*dict.fromkeys(first + self._variants(done))]
        return self.selected(done, self.ranked(done, everyone)[: self.spec.confirm])

    def selected(self, done: Done, chosen: Sequence[Attack]) -> list[Attack]:
        """The worst of ``chosen`` over all validation seeds, few of each family."""
        final = self.spec.final
        picked: list[Attack] = []
        for attack in sorted(chosen, key=lambda each: self.validation(done, each)):
            alike = sum(family(other) == family(attack) for other in picked)
            if alike < final.per_family and len(picked) < final.attackers:
                picked.append(attack)
        return picked

    def ranked(self, done: Done, attacks: Sequence[Attack]) -> list[Attack]:
        """``attacks`` by accuracy on the first validation seed, the worst first."""
        return sorted(attacks, key=lambda a: self.end(done[self._search(a)], self.rounds))

    def validation(self, done: Done, attack: Attack) -> float:
        """Mean accuracy at the end over the validation seeds that ``attack`` has met."""
        trials = [self._search(attack, seed) for seed in self.spec.seeds]
        ends = [self.end(done[trial], self.rounds) for trial in trials if trial in done]
        return sum(ends) / len(ends) if ends else math.nan

    def end(self, played: Played, rounds: int) -> float:
        """Mean of the last ``tail`` accuracies up to ``rounds``, as a run reports it.

        A run that has diverged by then counts with `WORST`.
        """
        if len(played.curve) < rounds:
            return WORST
        last = played.curve[:rounds][-self.tail :]
        return math.fsum(last) / len(last)

    def _search(self, attack: Attack, seed: int | None = None) -> Trial:
        first = self.spec.seeds[0]
        return Trial(attack, first if seed is None else seed, "validation", self.rounds)

    def _variants(self, done: Done) -> list[Attack]:
        """Neighbours of the worst adaptive attackers, each with one setting changed."""
        refine = self.spec.refine
        variants: list[Attack] = []
        for attack in self.ranked(done, self.adaptive)[: refine.attackers]:
            length = float(setting(attack, "length", "1"))
            changes = [("length", f"{length * factor:.6g}") for factor in refine.lengths]
            changes += [("scatter", word) for word in refine.scatter]
            changes += [("period", str(period)) for period in refine.periods]
            changes += [("begin", str(round(share * self.rounds))) for share in refine.begins]
            variants += [
                changed(attack, name, value)
                for name, value in changes
                if value != setting(attack, name, _DEFAULTS.get(name, ""))
            ]
        return variants


def setting(attack: Attack, name: str, default: str) -> str:
    """The value of ``attack.<name>`` in overrides."""
    values = [text.partition("=")[2] for text in attack if text.startswith(f"attack.{name}=")]
    return values[-1] if values else default


def changed(attack: Attack, name: str, value: str) -> Attack:
    """``attack`` with another value of ``attack.<name>``, as an attacker is written in the file."""
    kept = [text for text in attack if not text.startswith(f"attack.{name}=")]
    return (*kept, f"attack.{name}={value}")


def family(attack: Attack) -> tuple[str, str]:
    """What attackers of one idea share: the attack and its direction."""
    return attack[0], setting(attack, "direction", "")


def rounds_to(curve: Sequence[float], level: float) -> int | None:
    """The first round, from 1, after which the accuracy is at least ``level``, if there is one."""
    return next((i for i, value in enumerate(curve, 1) if value >= level), None)


Verdict = Literal["none", "delays", "damages"]


def judge(near: float, far: float, level: float) -> Verdict:
    """What an attack does: ``near`` and ``far`` are the accuracies at the end and much later.

    ``none``: the level is kept at the end; ``delays``: it is reached by the later round;
    ``damages``: it is not.
    """
    if near >= level:
        return "none"
    return "delays" if far >= level else "damages"
