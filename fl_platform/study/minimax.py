"""Attack and defense by turns, each at its best against what the other did before.

The attacker tunes the strength of every attack against the defense as it stands; the defender
tunes its parameters against all strengths found so far and is judged by the worst of them, so
that it cannot win by turning its back on an earlier attack; then the attacker answers. An odd
number of turns ends with the attacker: the last value is what the tuned defense holds against
attacks that were tuned against it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from fl_platform.config import Config, ConfigError, target_name
from fl_platform.study.final_comparison import Sample, as_json, fresh_seeds, sample, winner
from fl_platform.study.objective import GivenBack, Objective
from fl_platform.study.problem import Stage
from fl_platform.study.session import Session, leave
from fl_platform.study.spec import (
    Plan,
    Range,
    Space,
    as_overrides,
    load_plan,
    parse_space,
    tuning_folder,
)
from fl_platform.tracking.lock import alone
from fl_platform.tracking.parent_run import ParentRun


@dataclass
class Position:
    """Where the game stands.

    Attributes:
        defense: the defender's settings; none of its own at first.
        strengths: attack -> the settings of each turn, the newest last.
        values: what each response was worth on validation samples, by its stage's short name.
    """

    defense: dict[str, Any] = field(default_factory=dict)
    strengths: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def rivals(self) -> tuple[tuple[str, ...], ...]:
        """All that the defender has to hold against."""
        told = [
            (f"attack={attack}", *as_overrides(settings))
            for attack, found in self.strengths.items()
            for settings in found
        ]
        return tuple(dict.fromkeys(told))


def play(session: Session, table: Stage) -> bool:
    """Play all turns and compare on the test set; ``False`` where a limit or signal came first.

    Args:
        table: name, plan and base of the whole game, without attack and strength; its one rival
            is the first attack, and its base says which defense plays.
    """
    plan = table.plan
    defense = target_name(table.config({}, plan.seeds[0]).defense)
    if not (tuning_folder(table.home) / f"{defense}.yaml").exists():
        raise ConfigError(
            f"defense: expected one whose settings tuning/{defense}.yaml names for the defender to"
            f" tune, got {defense}, which has no such file."
        )
    answer = load_plan(defense, table.home)
    if not answer.space:
        raise ConfigError(f"tuning/{defense}.yaml: expected the space that the defender tunes.")
    book = optuna.create_study(
        study_name=table.name, storage=session.storage, direction="maximize", load_if_exists=True
    )
    with alone(session.lock):
        parent = session.join(book, table)
    complete = False
    with parent:
        with contextlib.suppress(GivenBack):
            complete = _turns(session, table, book, parent, answer)
        leave(parent, session.stopper, complete)
    return complete


def _turns(
    session: Session, table: Stage, book: optuna.Study, parent: ParentRun, answer: Plan
) -> bool:
    position, game = Position(), table.plan.game
    assert game is not None
    for turn in range(1, game.turns + 1):
        stages = (
            _attacks(table, turn, position) if turn % 2 else _defense(table, turn, position, answer)
        )
        for stage in stages:
            stage.check()
            study, objective = session.open(stage, parent)
            if not _finish(session, study, objective):
                return False
            best = winner(study)
            assert best is not None
            assert best.value is not None
            short = stage.name.removeprefix(f"{table.name}/")
            position.values[short] = best.value
            if turn % 2:
                position.strengths.setdefault(short.partition("/")[2], []).append(best.params)
            else:
                position.defense = best.params
            session.publish(study, objective, short.replace("/", "-"))
    book.set_user_attr("position", vars(position))
    objective = Objective(table, parent, session.stopper, upload=session.upload)
    samples = _compare(objective, position)
    stored = {"seeds": list(samples[0].seeds), "samples": as_json(samples)}
    book.set_user_attr("final", [stored])
    return True


def _attacks(table: Stage, turn: int, position: Position) -> Iterator[Stage]:
    """The attacker's turn: a stage for each attack, beginning at its default and its last best."""
    assert table.plan.game is not None
    for attack, node in table.plan.game.attacks.items():
        stage = replace(
            table,
            name=f"{table.name}/{turn}-attack/{attack}",
            base=(*table.base, *as_overrides(position.defense)),
            rivals=((f"attack={attack}",),),
            space=parse_space(node, f"game.attacks.{attack}"),
            direction="minimize",
            trials=table.plan.game.attack_trials,
        )
        points = [default_point(stage.config({}, table.plan.seeds[0]), stage.space)]
        points += position.strengths.get(attack, [])[-1:]
        distinct = dict.fromkeys(tuple(point.items()) for point in points if point)
        yield replace(stage, start=tuple(dict(items) for items in distinct))


def _defense(table: Stage, turn: int, position: Position, answer: Plan) -> Iterator[Stage]:
    """The defender's turn: one stage, against everything that was found."""
    assert table.plan.game is not None
    yield replace(
        table,
        name=f"{table.name}/{turn}-defense",
        rivals=position.rivals(),
        space=answer.varied,
        direction="maximize",
        trials=table.plan.game.defense_trials,
        start=tuple(answer.start),
    )


def default_point(config: Config, space: Space) -> dict[str, Any]:
    """The default settings of the varied keys; empty where one is not in its range."""
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


def _finish(session: Session, study: optuna.Study, objective: Objective) -> bool:
    """Work until the stage is complete, also where the last trials are in others' hands."""
    while not session.work(study, objective):
        if session.stopper.signal is not None or session.limits.reached(0):
            return False
        time.sleep(1.0)
    return True


def _compare(objective: Objective, position: Position) -> list[Sample]:
    """Every attack before and after tuning, against the defense before and after."""
    seeds, tuned = fresh_seeds(objective.stage, 0), position.defense
    samples = []
    for attack, found in position.strengths.items():
        for name, values in {
            f"{attack}; defaults": {},
            f"{attack} tuned": found[0],
            f"{attack}; defense tuned": tuned,
            f"{attack} tuned; defense tuned": {**tuned, **found[0]},
            f"{attack} tuned again; defense tuned": {**tuned, **found[-1]},
        }.items():
            samples.append(sample(objective, name, values, seeds, (f"attack={attack}",)))
    return samples
