"""Compute the tables and the figure of docs/results/defense.md from the files beside this one.

python docs/results/data/defense.py           # write them
python docs/results/data/defense.py --check   # exit 1 where the page says something else
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fl_platform.report.figures.style import BLUE, GREY, VERMILION
from fl_platform.report.statistics import summarize

HERE = Path(__file__).parent
PAGE = HERE.parent / "defense.md"
FIGURE = HERE.parent / "figures" / "defense-worst-case.png"
CANDIDATE = "unit_rows, spectral_filter"
KEEP = 0.95
CHANCE = 10.0  # percent, of ten classes
OPPONENTS = {  # the rules that attackers were written against, and the rows of these
    CANDIDATE: ("defense-own.csv", "attack=cone"),
    "sign_guard": ("defense-sign-own.csv", "attack=mimic_signs"),
}

Row = dict[str, str]


def read(pattern: str) -> list[Row]:
    """The rows of all files of a pattern, in the order of their names."""
    rows: list[Row] = []
    for path in sorted(HERE.glob(pattern)):
        with path.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    return rows


def setting(overrides: str) -> dict[str, str]:
    """Overrides as a mapping."""
    return dict(text.split("=", 1) for text in overrides.split())


def rule(overrides: str) -> str:
    """Pre-aggregation and defense of a row, as one name."""
    chosen = setting(overrides)
    parts = [chosen.get("mixing", "none"), chosen["defense"]]
    more = [f"{k}={v}" for k, v in chosen.items() if k.startswith(("mixing.", "defense."))]
    return ", ".join([*(part for part in parts if part != "none"), *more])


def momentum(overrides: str) -> str:
    """The server's momentum, 0 without."""
    return setting(overrides).get("server.momentum", "0")


def attacker(attack: str) -> str:
    """An attacker without the words that all have in common."""
    return attack.replace("attack=", "").replace("attack.", "")


def percent(row: Row) -> str:
    """A mean and its interval."""
    return f"{float(row['end']):.1f} [{float(row['low']):.1f}, {float(row['high']):.1f}]"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def arenas(files: str = "arena-*.csv") -> list[tuple[Row, Row]]:
    """(no attack, worst attacker) of each arena."""
    found: dict[str, list[Row]] = {}
    for row in read(files):
        found.setdefault(row["defense"], []).append(row)
    pairs = []
    for rows in found.values():
        quiet = next(row for row in rows if row["attack"] == "attack=none")
        rest = [row for row in rows if row is not quiet]
        pairs.append((quiet, min(rest, key=lambda row: float(row["end"]))))
    return pairs


def arena_table() -> list[str]:
    """Worst cases, grouped by momentum and beta, the highest first."""

    def place(pair: tuple[Row, Row]) -> tuple[float, float, float]:
        where, worst = pair[1]["defense"], float(pair[1]["end"])
        return -float(momentum(where)), -float(setting(where)["task.beta"]), -worst

    lines = []
    for quiet, worst in sorted(arenas(), key=place):
        where = worst["defense"]
        line = [rule(where), momentum(where), setting(where)["task.beta"]]
        line += [f"{float(quiet['end']):.1f}", f"{float(worst['reference']):.1f}", percent(worst)]
        line += [f"{100 * float(worst['share']):.1f} %", f"{float(worst['later']):.1f}"]
        verdict = "holds" if worst["verdict"] == "none" else worst["verdict"]
        lines.append([*line, verdict, f"`{attacker(worst['attack'])}`"])
    header = ["defense", "momentum", "beta", "no attack", "reference", "worst case"]
    return table([*header, "of reference", "later", "verdict", "attacker"], lines)


def ranked(strength: str, beta: str) -> dict[str, Row]:
    """The worst case of each rule, the highest share of the reference first."""
    found = [
        (rule(worst["defense"]), worst)
        for _, worst in arenas()
        if (momentum(worst["defense"]), setting(worst["defense"])["task.beta"]) == (strength, beta)
    ]
    return dict(sorted(found, key=lambda pair: -float(pair[1]["share"])))


def findings() -> list[str]:
    """Sentences about the arenas and the ablation, with their numbers."""
    usual, plain, hard = ranked("0.8", "0.5"), ranked("0", "0.5"), ranked("0.8", "0.1")
    kept = [100 * float(row["share"]) for row in plain.values()]
    reached = [sum(float(r["share"]) >= KEEP for r in rows.values()) for rows in (plain, hard)]
    many = sum(float(row["share"]) > 0.9 for row in usual.values())
    clear = [row for row in hard.values() if float(row["low"]) > CHANCE]
    rest = sorted(_end(row) for row in hard.values() if row not in clear)
    short = {
        name: min((row for row in named(name, "defense-ablation.csv")), key=_end)
        for name in names("defense-ablation.csv")
    }
    whole, *parts = (_end(short[name]) for name in _PARTS)
    twice = [f"{name} {_end(row):.1f} and {float(row['later']):.1f} %, {told}"
             for rows, told in ((usual, "momentum 0.8"), (plain, "no momentum"))
             for name, row in rows.items() if name in OPPONENTS]  # fmt: skip
    return [
        f"- **Momentum has the largest share.** Without it {reached[0]} of {len(plain)} defenses"
        f" reach the goal: the two best keep {kept[0]:.1f} and {kept[1]:.1f} % of their reference,"
        f" the others {kept[-1]:.1f} to {kept[2]:.1f} %. With 0.8, {many} of {len(usual)} keep more"
        " than 90 %.",
        f"- No part suffices alone. Under the worst attacker of a [short list](#ablation) the"
        f" candidate has {whole:.1f} %, and {parts[0]:.1f} without momentum, {parts[1]:.1f} without"
        f" the filter, {parts[2]:.1f} without unit rows. The plain mean with momentum ends at"
        f" {_end(usual['mean']):.1f} % in the arena.",
        f"- At beta 0.1, {reached[1]} of {len(hard)} defenses reach the goal. The intervals of"
        f" {len(clear)} lie above chance ({CHANCE:.0f} %); the others end at {rest[0]:.1f} to"
        f" {rest[-1]:.1f} %.",
        "- Part of the damage at beta 0.5 is delay. After 60 and 120 rounds under the arena's worst"
        f" attacker: {'; '.join(twice)}.",
    ]


def elsewhere_arena_table() -> list[str]:
    """Worst cases on other data, the highest first."""
    lines = []
    for data in ("mnist", "leaf"):
        pairs = sorted(arenas(f"{data}-arena.csv"), key=lambda pair: -float(pair[1]["end"]))
        for quiet, worst in pairs:
            line = [data.upper(), rule(worst["defense"]), f"{float(quiet['end']):.1f}"]
            line += [f"{float(worst['reference']):.1f}", percent(worst)]
            line += [f"{100 * float(worst['share']):.1f} %", f"{float(worst['later']):.1f}"]
            verdict = "holds" if worst["verdict"] == "none" else worst["verdict"]
            lines.append([*line, verdict, f"`{attacker(worst['attack'])}`"])
    header = ["data", "defense", "no attack", "reference", "worst case", "of reference", "later"]
    return table([*header, "verdict", "attacker"], lines)


def named(name: str, file: str) -> list[Row]:
    """The rows of one name in a file of our own runs, references left out."""
    return [row for row in read(file) if row["name"] == name and row["attack"] != "reference"]


def reference(base: str) -> float:
    """The plain mean without attack at the same beta and momentum."""
    for row in read("defense-*.csv"):
        same = momentum(row["base"]) == momentum(base)
        same &= setting(row["base"])["task.beta"] == setting(base)["task.beta"]
        if row["attack"] == "reference" and same:
            return float(row["end"])
    for row in read("arena-*.csv"):
        same = momentum(row["defense"]) == momentum(base)
        if same and setting(row["defense"])["task.beta"] == setting(base)["task.beta"]:
            return float(row["reference"])
    raise LookupError(f"no reference for {base}")


def names(file: str) -> list[str]:
    """The names of a file, in its order."""
    return list(dict.fromkeys(row["name"] for row in read(file)))


def ablation_table() -> list[str]:
    """Attackers as columns, settings as rows."""
    file = "defense-ablation.csv"
    columns = ["reverse, orthogonal, 0.5", "reverse, 1", "undo, orthogonal, 0.5"]
    columns += ["shrink, orthogonal, 0.65", "sign, 0.625", "bit_flip", "ipm, 1", "no attack"]
    lines = []
    for name in names(file):
        rows = {row["attack"]: row for row in named(name, file)}
        values = {attack: float(row["end"]) for attack, row in rows.items()}
        worst = min(values, key=lambda attack: values[attack])
        plain = reference(rows[worst]["base"])
        cells = [f"{values[key]:.1f}" for key in _SHORT]
        line = [name, *cells, percent(rows[worst]), f"{plain:.1f}"]
        lines.append([*line, f"{100 * values[worst] / plain:.1f} %"])
    return table(["setting", *columns, "worst", "reference", "of reference"], lines)


def validated(file: str) -> dict[str, list[float]]:
    """The accuracies of each attacker, one per validation seed."""
    found: dict[str, list[float]] = {}
    for row in read(file):
        found.setdefault(row["attack"], []).extend(_values(row))
    return found


def own_table(prefix: str = "defense") -> list[str]:
    """The attackers of a plug-in against the rule it was written for, the lowest first."""
    file = f"{prefix}-own.csv"
    validation = validated(f"{prefix}-validation.csv")
    rows = sorted(named(names(file)[0], file), key=_end)
    lines = []
    for row in rows:
        plain, end = reference(row["base"]), float(row["end"])
        seen = validation.get(row["attack"], [])
        before = f"{sum(seen) / len(seen):.1f} ({len(seen)})" if seen else "-"
        share = f"{100 * end / plain:.1f} %"
        lines.append([f"`{attacker(row['attack'])}`", before, percent(row), share, row["per_seed"]])
    for line in lines:
        line[-1] = ", ".join(f"{float(value):.1f}" for value in line[-1].split())
    header = ["attacker", "validation (seeds)", "test", "of reference", "per seed"]
    return table(header, lines)


def fresh_table() -> list[str]:
    """Fresh seeds alone and all seeds; the last column is paired: accuracy less the goal."""
    rows = {row["attack"]: row for row in read("defense-fresh.csv")}
    first = {row["attack"]: row for row in named("own attackers", "defense-own.csv")}
    plain = next(
        row
        for row in read("defense-ablation.csv")
        if row["attack"] == "reference" and momentum(row["base"]) == "0.8"
    )
    before, after = _values(plain), _values(rows.pop("reference"))
    lines = []
    for attack, row in sorted(rows.items(), key=lambda item: _end(item[1])):
        fresh, everything = _values(row), _values(first[attack]) + _values(row)
        both = before + after
        goal = [a - KEEP * b for a, b in zip(everything, both, strict=True)]
        line = [f"`{attacker(attack)}`", _interval(fresh)]
        line += [f"{100 * sum(fresh) / sum(after):.1f} %", _interval(everything)]
        lines.append([*line, f"{100 * sum(everything) / sum(both):.1f} %", _interval(goal)])
    old, new = len(before), len(after)
    header = ["attacker", f"{new} new seeds", "of reference", f"all {old + new} seeds"]
    return table([*header, "of reference", "less 95 % of the reference, paired"], lines)


def _values(row: Row) -> list[float]:
    return [float(value) for value in row["per_seed"].split()]


def _interval(values: Sequence[float]) -> str:
    found = summarize(list(values))
    return f"{found.mean:.1f} [{found.low:.1f}, {found.high:.1f}]"


def elsewhere_table(prefix: str = "defense") -> list[str]:
    """The same attackers in other settings."""
    lines, file = [], f"{prefix}-own.csv"
    for name in names(file)[1:]:
        for row in named(name, file):
            plain, end = reference(row["base"]), float(row["end"])
            line = [name.removesuffix(", own"), f"`{attacker(row['attack'])}`", percent(row)]
            lines.append([*line, f"{plain:.1f}", f"{100 * end / plain:.1f} %"])
    return table(["setting", "attacker", "test", "reference", "of reference"], lines)


def mnist_table() -> list[str]:
    """A short list of attackers on a subsample of MNIST."""
    rows = read("mnist-defense.csv")
    plain = next(float(row["end"]) for row in rows if row["attack"] == "reference")
    lines = []
    for row in rows:
        share = f"{100 * float(row['end']) / plain:.1f} %"
        if row["attack"] != "reference":
            line = [rule(row["base"]), f"`{attacker(row['attack'])}`"]
            lines.append([*line, percent(row), share])
    return table(["defense", "attacker", "test", "of reference"], lines)


def searched_table(prefix: str = "defense") -> list[str]:
    """All attackers of a plug-in on validation data, the lowest first."""
    found = validated(f"{prefix}-validation.csv")
    ordered = sorted(found.items(), key=lambda item: sum(item[1]) / len(item[1]))
    lines = [
        [f"`{attacker(name)}`", f"{sum(seen) / len(seen):.1f}", str(len(seen))]
        for name, seen in ordered
    ]
    return table(["attacker", "validation", "seeds"], lines)


def figure() -> Figure:
    """Worst case of each defense at beta 0.5 and 0.1, with and without momentum."""
    found: dict[str, dict[tuple[str, str], Row]] = {}
    for _, worst in arenas():
        where = worst["defense"]
        key = momentum(where), setting(where)["task.beta"]
        found.setdefault(rule(where), {})[key] = worst
    order = sorted(found, key=lambda each: _end(found[each].get(("0.8", "0.5"))))
    drawn = Figure(figsize=(7.2, 0.9 + 0.3 * len(order)), layout="constrained")
    panels = drawn.subplots(1, 2, sharey=True)
    looks = (("0", "s", GREY, "without momentum"), ("0.8", "o", BLUE, "server momentum 0.8"))
    for axes, beta in zip(panels, ("0.5", "0.1"), strict=True):
        for strength, marker, color, label in looks:
            points = [(i, found[n].get((strength, beta))) for i, n in enumerate(order)]
            held = [(i, row) for i, row in points if row]
            if held:
                _bars(axes, held, marker, color, label)
        for strength, color in (("0", GREY), ("0.8", VERMILION)):
            label = "ours, without momentum" if strength == "0" else "ours, momentum 0.8"
            ours = [(order.index(n) + 0.25, _lowest(n, beta, strength)) for n in OPPONENTS]
            held = [(i, row) for i, row in ours if row]
            if held:
                _bars(axes, held, "X", color, label)
        goal = KEEP * reference(f"task.beta={beta} server.momentum=0.8")
        axes.axvline(goal, color=VERMILION, linewidth=0.8, linestyle="--", label="goal: 95 %")
        axes.set_title(f"beta = {beta}", fontsize=9)
        axes.set_xlim(0, 100)
        axes.set_xlabel("test accuracy in the worst case, percent", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", linewidth=0.4, color="#DDDDDD")
    panels[0].set_yticks(range(len(order)), order)
    legend = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    labels, handles = list(legend), list(legend.values())
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return drawn


def _lowest(name: str, beta: str, strength: str) -> Row | None:
    """The lowest row of the attackers that were written against a rule, f = 10."""
    file, ours = OPPONENTS[name]
    rows = [
        row
        for row in read(file)
        if rule(row["base"]) == name
        and momentum(row["base"]) == strength
        and setting(row["base"])["task.beta"] == beta
        and "byzantine." not in row["base"]
        and ours in row["attack"]
    ]
    return min(rows, key=_end, default=None)


def _bars(
    axes: Axes, held: Sequence[tuple[float, Row]], marker: str, color: str, label: str
) -> None:
    """Means with their intervals."""
    ends = [float(row["end"]) for _, row in held]
    below = [max(0.0, e - float(r["low"])) for e, (_, r) in zip(ends, held, strict=True)]
    above = [max(0.0, float(r["high"]) - e) for e, (_, r) in zip(ends, held, strict=True)]
    axes.errorbar(
        ends, [i for i, _ in held], xerr=[below, above], fmt=marker, color=color,
        markersize=5, linewidth=0.9, label=label,
    )  # fmt: skip


def _end(row: Row | None) -> float:
    return float(row["end"]) if row else -1.0


_DIRECTIONAL = "attack=directional attack.direction="
_SHORT = (
    _DIRECTIONAL + "reverse attack.scatter=orthogonal attack.length=0.5",
    _DIRECTIONAL + "reverse attack.scatter=orthogonal attack.length=1",
    _DIRECTIONAL + "undo attack.scatter=orthogonal attack.length=0.5",
    _DIRECTIONAL + "shrink attack.scatter=orthogonal attack.length=0.65",
    _DIRECTIONAL + "sign attack.length=0.625",
    "attack=bit_flip",
    "attack=ipm attack.scale=1",
    "attack=none",
)
_PARTS = (  # names of the ablation: the candidate, then without each of its parts
    "unit rows, spectral filter, momentum 0.8",
    "without momentum",
    "without spectral filter (mean)",
    "without unit rows",
)
BLOCKS: dict[str, Callable[[], list[str]]] = {
    "findings": findings,
    "arena": arena_table,
    "arena-elsewhere": elsewhere_arena_table,
    "ablation": ablation_table,
    "own": own_table,
    "fresh": fresh_table,
    "elsewhere": elsewhere_table,
    "mnist": mnist_table,
    "searched": searched_table,
    "sign-own": partial(own_table, "defense-sign"),
    "sign-elsewhere": partial(elsewhere_table, "defense-sign"),
    "sign-searched": partial(searched_table, "defense-sign"),
}


def main(arguments: Sequence[str]) -> int:
    """Write the page's tables and the figure, or compare the tables."""
    text = PAGE.read_text(encoding="utf-8")

    def block(match: re.Match[str]) -> str:
        return "\n".join([match["head"], *BLOCKS[match["name"]](), match["tail"]])

    pattern = r"(?P<head><!-- table: (?P<name>[\w-]+) -->)\n.*?(?P<tail><!-- end -->)"
    fresh = re.sub(pattern, block, text, flags=re.DOTALL)
    if "--check" in arguments:
        return int(fresh != text)
    PAGE.write_text(fresh, encoding="utf-8")
    drawn = figure()
    FigureCanvasAgg(drawn)
    drawn.savefig(FIGURE, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
