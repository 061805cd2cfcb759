"""Runs -> cells: the seeds of one attack against one defense under one setting, told apart.

The frame has one row a run (columns as ``tracking/table.py`` writes them). Runs that differ in
anything but the seed never share a cell.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from fl_platform.report.labels import (
    ATTACKS,
    DEFENSES,
    TASKS,
    order,
    printed,
)
from fl_platform.report.short_names import printed_mixing, said_once, short_names
from fl_platform.report.statistics import Summary, summarize

if TYPE_CHECKING:
    import pandas as pd

Accuracy = Literal["tail", "last", "best"]


@dataclass(frozen=True)
class Setting:
    """What stays the same within one table; ``beta`` None means no Dirichlet parameter.

    ``variant`` tells apart what nothing else here does: ``task.state=all``.
    """

    task: str
    preset: str = ""
    mixing: str = ""
    beta: float | None = None
    byzantine_fraction: float | None = None
    clients: int | None = None
    rounds: int | None = None
    variant: str = ""

    def title(self) -> str:
        """The setting in one line; what is not known is left out."""
        beta = "" if self.beta is None else f"β = {self.beta:g}"
        fraction = self.byzantine_fraction
        share = "" if fraction is None else f"{100 * fraction:g} % Byzantine"
        parts = [
            printed(self.task, TASKS),
            f"with {printed_mixing(self.mixing)}" if self.mixing else "",
            beta,
            "" if self.clients is None else f"{self.clients} clients",
            share,
            "" if self.rounds is None else f"{self.rounds} rounds",
            f"preset {self.preset}" if self.preset not in ("", "none") else "",
            self.variant,
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Cell:
    """The runs of one attack, defense and setting: accuracies by seed, and those without one.

    Attributes:
        values: Seed -> accuracy in percent, of finished runs only.
        diverged: Seeds whose run diverged.
        failed: Seeds whose run failed, or finished without an accuracy.
        unfinished: Seeds still running or stopped.
        conflicting: Seeds with several runs of different configuration, and seeds whose
            configuration differs in more than the seed from that of most others (left out of
            ``values``): a parameter that no label shows, such as a learning rate.
        runs: One row a seed, as in the frame.
        row: The attack as printed; ``cells`` shortens it to what tells attacks apart.
        column: The defense as printed, likewise.
    """

    setting: Setting
    attack: str
    attack_label: str
    defense: str
    defense_label: str
    nu: float | None
    values: Mapping[int, float]
    diverged: tuple[int, ...]
    failed: tuple[int, ...]
    unfinished: tuple[int, ...]
    conflicting: tuple[int, ...]
    runs: tuple[Mapping[str, Any], ...]
    row: str
    column: str

    @property
    def total(self) -> int:
        """The number of seeds, whatever became of them."""
        others = (self.diverged, self.failed, self.unfinished, self.conflicting)
        return len(self.values) + sum(len(seeds) for seeds in others)

    def summary(self) -> Summary:
        """Mean, deviation and 95 % interval over the finished seeds."""
        return summarize([self.values[seed] for seed in sorted(self.values)])


def cells(frame: pd.DataFrame, accuracy: Accuracy = "tail") -> list[Cell]:
    """The cells of a frame, in the order of the tables.

    Args:
        frame: One row a run.
        accuracy: Which accuracy counts: the mean over the tail (default), the last or the best.

    Raises:
        ValueError: a column that tells runs apart is missing.
    """
    needed = {"task", "attack", "defense", "seed", "status", f"accuracy_{accuracy}"}
    missing = sorted(needed - set(frame.columns))
    if missing:
        raise ValueError(
            f"Expected a frame with one row a run and the columns {sorted(needed)},"
            f" got one without {missing}; read it with fl_platform.tracking.frames."
        )
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for run in frame.to_dict("records"):
        row = {str(key): value for key, value in run.items()}
        groups[_key(row)].append(row)
    found = [_cell(key, runs, f"accuracy_{accuracy}") for key, runs in groups.items()]
    return sorted(_shortly_named(found), key=_place)


def settings_note(found: Iterable[Cell]) -> str:
    """The parameters that the printed names leave out, once per rule; empty where there are none.

    Rules that different presets set differently are listed for each preset.
    """
    said = []
    groups = _by_preset(found)
    for preset, group in groups.items():
        attacks = said_once((cell.attack_label for cell in group), ATTACKS)
        defenses = said_once((cell.defense_label for cell in group), DEFENSES)
        listed = "; ".join([*attacks, *defenses])
        if listed:
            where = f" (preset {preset or 'none'})" if len(groups) > 1 else ""
            said.append(f"Settings{where}: {listed}.")
    return " ".join(said)


def _shortly_named(found: Sequence[Cell]) -> list[Cell]:
    named = []
    # A title says the preset, so that its settings need not stand in the names.
    for group in _by_preset(found).values():
        rows = short_names((cell.attack_label for cell in group), ATTACKS)
        columns = short_names((cell.defense_label for cell in group), DEFENSES)
        named += [
            replace(cell, row=rows[cell.attack_label], column=columns[cell.defense_label])
            for cell in group
        ]
    return named


def _by_preset(found: Iterable[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.setting.preset].append(cell)
    return groups


def by_setting(found: Iterable[Cell]) -> dict[Setting, list[Cell]]:
    """The cells of each setting, in the order given."""
    groups: dict[Setting, list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.setting].append(cell)
    return dict(groups)


def differing_titles(settings: Sequence[Setting]) -> list[str]:
    """The title of each setting, without what all of them share; whole where nothing differs."""
    names = [entry.name for entry in fields(Setting)]
    differing = [name for name in names if len({getattr(s, name) for s in settings}) > 1]
    if not differing:
        return [setting.title() for setting in settings]
    bare = Setting(task="")
    short = [
        replace(bare, **{name: getattr(setting, name) for name in differing}).title()
        for setting in settings
    ]
    return [title or f"no {' or '.join(differing)}" for title in short]


def usual_strength(found: Iterable[Cell]) -> list[Cell]:
    """The cells without those of a nu sweep: of each attack's nu, only the one nearest to 1."""
    kept: dict[tuple[Setting, str, str], float] = {}
    every = list(found)
    for cell in every:
        if cell.nu is not None:
            key = (cell.setting, cell.attack, cell.defense_label)
            kept[key] = min(kept.get(key, math.inf), abs(cell.nu - 1))
    return [
        cell
        for cell in every
        if cell.nu is None
        or abs(cell.nu - 1) == kept[cell.setting, cell.attack, cell.defense_label]
    ]


def _key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    setting = Setting(
        task=_text(run.get("task")),
        preset=_text(run.get("preset")),
        mixing=_text(run.get("mixing")),
        beta=_number(run.get("beta")),
        byzantine_fraction=_number(run.get("byzantine_fraction")),
        clients=_whole(run.get("clients")),
        rounds=_whole(run.get("rounds")),
        variant=_text(run.get("variant")),
    )
    attack, defense = _text(run.get("attack")), _text(run.get("defense"))
    attack_label = _text(run.get("attack_label")) or attack
    defense_label = _text(run.get("defense_label")) or defense
    return (setting, attack, attack_label, defense, defense_label, _number(run.get("nu")))


def _cell(key: tuple[Any, ...], runs: list[dict[str, Any]], column: str) -> Cell:
    by_seed: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        by_seed[_whole(run["seed"]) or 0].append(run)
    kept: list[dict[str, Any]] = []
    values: dict[int, float] = {}
    without: dict[str, list[int]] = {"diverged": [], "failed": [], "unfinished": [], "conflict": []}
    usual = _usual_setting(by_seed)
    for seed, rivals in sorted(by_seed.items()):
        if len({_text(run.get("config_hash")) for run in rivals}) > 1 or usual not in {
            _text(run.get("setting")) for run in rivals
        }:
            without["conflict"].append(seed)
            kept.extend(rivals)
            continue
        # The same configuration twice: a run that finished counts before one that did not.
        finished = [run for run in rivals if _text(run["status"]) == "FINISHED"]
        run = (finished or rivals)[-1]
        kept.append(run)
        fate = _fate(run, column)
        if fate:
            without[fate].append(seed)
        else:
            values[seed] = float(run[column])
    setting, attack, attack_label, defense, defense_label, nu = key
    return Cell(
        setting=setting,
        attack=attack,
        attack_label=attack_label,
        defense=defense,
        defense_label=defense_label,
        nu=nu,
        values=values,
        diverged=tuple(without["diverged"]),
        failed=tuple(without["failed"]),
        unfinished=tuple(without["unfinished"]),
        conflicting=tuple(without["conflict"]),
        runs=tuple(kept),
        row=printed(attack_label, ATTACKS),
        column=printed(defense_label, DEFENSES),
    )


def _usual_setting(by_seed: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    """What most seeds say of everything but the seed; the first in order where none is ahead."""
    counts = Counter(
        setting
        for rivals in by_seed.values()
        for setting in {_text(run.get("setting")) for run in rivals}
    )
    return min(counts, key=lambda setting: (-counts[setting], setting))


def _fate(run: Mapping[str, Any], column: str) -> str:
    status = _text(run["status"])
    if status == "FINISHED":
        return "" if _number(run[column]) is not None else "failed"
    return {"DIVERGED": "diverged", "FAILED": "failed"}.get(status, "unfinished")


def _place(cell: Cell) -> tuple[Any, ...]:
    s = cell.setting
    numbers = (s.beta, s.byzantine_fraction, s.clients, s.rounds)
    where = (
        order(s.task, TASKS),
        s.preset,
        s.mixing,
        s.variant,
        *(math.inf if n is None else n for n in numbers),
    )
    nu = -math.inf if cell.nu is None else cell.nu
    attack, _ = order(cell.attack, ATTACKS)
    defense, _ = order(cell.defense, DEFENSES)
    return (*where, attack, cell.attack, nu, cell.attack_label, defense, cell.defense_label)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
