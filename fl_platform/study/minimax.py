"""Minimax study: attack and defense are tuned in turn, each against the other's best settings.

In an attack turn the strength of every attack is tuned against the current defense. In a defense
turn the defense's parameters are tuned against all strengths found so far, and a trial is worth
its worst accuracy; so the defense is scored against all earlier attacks. The number of turns is
odd, so the last turn tunes the attacks: the final value is the accuracy of the tuned defense under
attacks that were tuned against it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from fl_platform.config import Config
from fl_platform.study.final_comparison import Sample, as_json, best_trial, evaluate, fresh_seeds
from fl_platform.study.objective import Objective, TrialRequeued
from fl_platform.study.problem import METRIC_LABEL, Problem, tuned_defense
from fl_platform.study.session import WorkerSession, leave
from fl_platform.study.spec import (
    Range,
    Space,
    StudySpec,
    as_overrides,
    parse_space,
)
from fl_platform.tracking.lock import alone
from fl_platform.tracking.parent_run import ParentRun


@dataclass
class GameState:
    """Best settings found so far.

    Attributes:
        defense: settings of the defense; empty before its first turn.
        strengths: attack -> the settings of each turn, the latest last.
        values: short name of a turn's problem -> best validation accuracy in percent.
    """

    defense: dict[str, Any] = field(default_factory=dict)
    strengths: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def opponents(self) -> tuple[tuple[str, ...], ...]:
        """Overrides of every attack and strength found so far, without duplicates."""
        overrides = [
            (f"attack={attack}", *as_overrides(settings))
            for attack, found in self.strengths.items()
            for settings in found
        ]
        return tuple(dict.fromkeys(overrides))


def solve(session: WorkerSession, problem: Problem) -> bool:
    """Run all turns and the final comparison; ``False`` after a limit or signal.

    Args:
        session: the worker.
        problem: name, spec and base of the whole minimax study, without attack and strength. Its
            one opponent is the first attack; its base selects the defense.
    """
    defense_spec = tuned_defense(problem)
    parent_study = optuna.create_study(
        study_name=problem.name,
        storage=session.storage,
        direction="maximize",
        load_if_exists=True,
    )
    parent_study.set_metric_names([METRIC_LABEL])
    with alone(session.lock):
        parent = session.join(parent_study, problem)
    complete = False
    with parent:
        with contextlib.suppress(TrialRequeued):
            complete = _turns(session, problem, parent_study, parent, defense_spec)
        leave(parent, session.stopper, complete)
    return complete


def _turns(
    session: WorkerSession,
    whole: Problem,
    parent_study: optuna.Study,
    parent: ParentRun,
    defense_spec: StudySpec,
) -> bool:
    state, game = GameState(), whole.spec.game
    assert game is not None
    for turn in range(1, game.turns + 1):
        attacks_turn = turn % 2 == 1
        problems = (
            _attack_problems(whole, turn, state)
            if attacks_turn
            else iter([_defense_problem(whole, turn, state, defense_spec)])
        )
        for problem in problems:
            problem.check()
            study, objective = session.open(problem, parent)
            if not _complete(session, study, objective):
                return False
            best = best_trial(study)
            assert best is not None
            assert best.value is not None
            short = problem.name.removeprefix(f"{whole.name}/")
            state.values[short] = best.value
            if attacks_turn:
                state.strengths.setdefault(short.partition("/")[2], []).append(best.params)
            else:
                state.defense = best.params
            session.publish(study, objective, short.replace("/", "-"))
    parent_study.set_user_attr("position", vars(state))
    objective = Objective(whole, parent, session.stopper, upload=session.upload)
    samples = _compare(objective, state)
    stored = {"seeds": list(samples[0].seeds), "samples": as_json(samples)}
    parent_study.set_user_attr("final", [stored])
    return True


def _attack_problems(whole: Problem, turn: int, state: GameState) -> Iterator[Problem]:
    """One problem per attack; it starts at the default and the latest best strength."""
    assert whole.spec.game is not None
    for attack, node in whole.spec.game.attacks.items():
        problem = replace(
            whole,
            name=f"{whole.name}/{turn}-attack/{attack}",
            base=(*whole.base, *as_overrides(state.defense)),
            opponents=((f"attack={attack}",),),
            space=parse_space(node, f"game.attacks.{attack}"),
            direction="minimize",
            trials=whole.spec.game.attack_trials,
        )
        points = [default_point(problem.config({}, whole.spec.seeds[0]), problem.space)]
        points += state.strengths.get(attack, [])[-1:]
        distinct = dict.fromkeys(tuple(point.items()) for point in points if point)
        yield replace(problem, start=tuple(dict(items) for items in distinct))


def _defense_problem(
    whole: Problem, turn: int, state: GameState, defense_spec: StudySpec
) -> Problem:
    """The defense's problem against all attacks and strengths found so far."""
    assert whole.spec.game is not None
    return replace(
        whole,
        name=f"{whole.name}/{turn}-defense",
        opponents=state.opponents(),
        space=defense_spec.varied,
        direction="maximize",
        trials=whole.spec.game.defense_trials,
        start=tuple(defense_spec.start),
    )


def default_point(config: Config, space: Space) -> dict[str, Any]:
    """Default values of the keys in ``space``; empty if one lies outside its range."""
    point: dict[str, Any] = {}
    for key, entry in space.items():
        group, _, name = key.partition(".")
        node = getattr(config, group, None)
        value = node.get(name) if isinstance(node, Mapping) else None
        if isinstance(entry, Range):
            inside = isinstance(value, int | float) and entry.low <= value <= entry.high
        else:
            inside = value in entry.choices
        if not inside:
            return {}
        point[key] = value
    return point


def _complete(session: WorkerSession, study: optuna.Study, objective: Objective) -> bool:
    """Run trials until the problem has all of them, including those of other workers."""
    while not session.work(study, objective):
        if session.stopper.signal is not None or session.limits.reached(0):
            return False
        time.sleep(1.0)
    return True


def _compare(objective: Objective, state: GameState) -> list[Sample]:
    """Every attack before and after tuning, against the defense before and after tuning."""
    seeds, tuned = fresh_seeds(objective.problem, 0), state.defense
    samples = []
    for attack, found in state.strengths.items():
        for name, values in {
            f"{attack}; defaults": {},
            f"{attack} tuned": found[0],
            f"{attack}; defense tuned": tuned,
            f"{attack} tuned; defense tuned": {**tuned, **found[0]},
            f"{attack} tuned again; defense tuned": {**tuned, **found[-1]},
        }.items():
            samples.append(evaluate(objective, name, values, seeds, (f"attack={attack}",)))
    return samples
