"""Evidence for and against each claim of docs/results/summary.md, counted over the rows.

Most counts are made over the tables of the detailed pages, which `claims` and `defense` compute
from the rows: the summary and the details cannot differ.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import claims
import defense
import delay_tables as delay
import numpy as np
import pandas as pd

from fl_platform.report.labels import DEFENSES
from fl_platform.report.statistics import Difference, holm, paired_difference

HERE = Path(__file__).parent
CONTROLS = {  # columns of the ablation's table, as the summary prints them
    "STRIKE on all rows": "itself with all updates as the skewed set",
    "STRIKE on the least skewed rows": "itself with the least skewed updates",
    "LIE above, at STRIKE's distance": "LIE above the mean at its distance",
}
MORE = ("IPM, scale 1", "IPM, scale 2", "LabelFlip")  # attacks that Table 1 does not have
NEAR = 5.0  # points: a published mean that is met by one seed
CLOSE = 2.0  # points: a loss of attack strength that does not matter

Record = Mapping[str, str]
Seeds = Mapping[int, float]


class Evidence(NamedTuple):
    """What one set of runs says about a claim: cases for it, against it, all, decisive numbers."""

    data: str
    supports: int
    against: int
    total: int
    numbers: str
    seeds: int = 2  # one: means alone are compared, without a test

    def verdict(self) -> str:
        """The rule that the page states."""
        if self.supports == self.total:
            return "holds"
        if self.supports:
            return "holds in part"
        return "does not hold" if self.against else "cannot tell"

    def row(self) -> list[str]:
        """A line of a section's table."""
        note = "" if self.seeds > 1 else " (one seed, no test)"
        return [self.data, self.verdict() + note, self.counts(), self.numbers]

    def counts(self) -> str:
        """Cases for the claim, against it, undecided."""
        return f"{self.supports} / {self.against} / {self.total - self.supports - self.against}"


@functools.cache
def records(name: str, page: str = "claims") -> tuple[Record, ...]:
    """A table of a detailed page, line by line; of two columns of one name, the last."""
    lines = {"claims": claims, "defense": defense}[page].BLOCKS[name]()
    head, _, *body = (line[2:-2].split(" | ") for line in lines)
    return tuple(dict(zip(head, cells, strict=True)) for cells in body)


def seven(name: str, only: Sequence[str] = ()) -> list[Record]:
    """The lines of the paper's defenses: the plain mean is none."""
    found = [row for row in records(name) if row["Defense"] != "Mean"]
    return [row for row in found if row["Defense"] in only] if only else found


def first(text: str) -> float:
    """The number at the beginning of a cell."""
    return float(text.split()[0])


def ends(text: str) -> tuple[float, float]:
    """The ends of the interval of a difference."""
    low, high = (float(x) for x in re.findall(r"[-+][\d.]+", text)[1:])
    return low, high


def p_of(text: str) -> float:
    """A p value as it is printed; below 0.001 half of it."""
    return 0.0005 if text.startswith("<") else float(text)


def extremes(pairs: Iterable[tuple[str, str]]) -> str:
    """The lowest and the highest difference, each with its name."""
    ordered = sorted(pairs, key=lambda pair: first(pair[0]))
    told = [f"{text} ({name})" for text, name in (ordered[0], ordered[-1])]
    return " to ".join(told if len(ordered) > 1 else told[:1])


def led(pairs: Sequence[tuple[str, str]]) -> str:
    """How often STRIKE has the lowest mean, and its distances from the lowest other."""
    lowest = sum(first(gap) < 0 for gap, _ in pairs)
    return f"lowest mean in {lowest} of {len(pairs)}; STRIKE minus lowest other: {extremes(pairs)}"


def contest(name: str, data: str, only: Sequence[str] = ()) -> Evidence:
    """STRIKE against the lowest other attack, defense by defense."""
    rows = seven(name, only)
    found = Counter(row["verdict"] for row in rows)
    pairs = [
        (row["STRIKE - it [95 %]"], f"{row['Defense']}, {row['lowest other']}") for row in rows
    ]
    counts = found["STRIKE is the lowest"], found["another is lower"]
    return Evidence(data, *counts, len(rows), led(pairs))


def signs(
    data: str, found: Sequence[tuple[str, Difference | None]], what: str, *, positive: bool
) -> Evidence:
    """Paired differences that should be positive (or negative), adjusted by Holm."""
    known = [(name, d) for name, d in found if d is not None]
    adjusted = holm([d.p for _, d in known])
    clear = [d.mean > 0 for (_, d), p in zip(known, adjusted, strict=True) if p <= claims.LEVEL]
    pairs = [(claims.interval(d), name) for name, d in known]
    supports = clear.count(positive)
    numbers = f"{what}: {extremes(pairs)}"
    return Evidence(data, supports, len(clear) - supports, len(found), numbers)


def at_end(
    momentum: float, data: str, without: Sequence[str] = (), table: str = "table1"
) -> Evidence:
    """STRIKE against the other attacks at the end of training."""
    apart = (*delay.CALM, "STRIKE", *without)
    labels = [name for name in delay.labels(table) if name not in apart]
    names = [name for name in delay.header(0.0, table)[1:] if name != "Mean"]
    keys = {name: key for key, name in DEFENSES.items()}
    below, above, pairs = [], [], []
    for name in names:
        seeds = {
            label: delay.seeds_of(momentum, label, keys[name], "accuracy_tail", table)
            for label in (*labels, "STRIKE")
        }
        strike = seeds.pop("STRIKE")
        p_below, p_above = claims.contest(strike, list(seeds.values()))
        below.append(p_below)
        above.append(p_above)
        lowest = min(seeds, key=lambda label: np.mean(list(seeds[label].values())))
        gap = claims.interval(paired_difference(strike, seeds[lowest]))
        pairs.append((gap, f"{name}, {lowest}"))
    found = Counter(map(claims.decided, holm(below), holm(above)))
    counts = found["STRIKE is the lowest"], found["another is lower"]
    return Evidence(data, *counts, len(names), led(pairs))


def end_gaps(table: str, first: str, second: str) -> list[tuple[str, Difference | None]]:
    """Accuracy under one attack less that under another at the end, defense by defense."""
    return [
        (
            DEFENSES[rule],
            paired_difference(
                *(
                    delay.seeds_of(0.0, label, rule, "accuracy_tail", table)
                    for label in (first, second)
                )
            ),
        )
        for rule in delay.defenses(table)
        if rule != "mean"
    ]


def one_seed(name: str, data: str) -> Evidence:
    """Whether STRIKE has the lowest value of each column of a table of one seed."""
    rows = {row["Attack"]: row for row in records(name)}
    strike = rows.pop("STRIKE")
    others = {attack: row for attack, row in rows.items() if attack not in ("No attack", "Absent")}
    pairs = []
    for column in (c for c in strike if c not in ("Attack", "Mean")):
        lowest = min(others, key=lambda attack: first(others[attack][column]))
        gap = first(strike[column]) - first(others[lowest][column])
        pairs.append((f"{gap:+.1f}", f"{column}, {lowest}"))
    supports = sum(first(gap) < 0 for gap, _ in pairs)
    return Evidence(data, supports, len(pairs) - supports, len(pairs), led(pairs), seeds=1)


def strongest() -> list[Evidence]:
    """STRIKE against the other attacks."""
    side = [
        (row["difference [95 %]"], row["Defense"], p_of(row["p"]))
        for row in records("cifar10-side")
    ]
    clear = [first(gap) for gap, _, p in side if p <= claims.LEVEL]
    return [
        at_end(0.0, "digits, end of training, the attacks of Table 1", MORE),
        at_end(0.0, "the same, and IPM of scale 1 and 2, LabelFlip"),
        at_end(0.8, "the same with server momentum 0.8"),
        contest("table1-digits", "digits, round 60"),
        contest("presets-official-lowest", "the same, attacks as in the authors' code"),
        at_end(0.0, "digits, end of training, `preset=official`", MORE, "official"),
        one_seed("cifar10-seed0", "CIFAR-10, the paper's scale"),
        contest("cifar10", "CIFAR-10, reduced, LIE and MinMax on both sides"),
        Evidence(
            "the same against LIE above the mean alone",
            sum(gap > 0 for gap in clear), sum(gap < 0 for gap in clear), len(side),
            "LIE minus STRIKE: " + extremes((gap, defense) for gap, defense, _ in side),
        ),
        contest("femnist", "LEAF digits, against LIE and MinMax"),
    ]  # fmt: skip


def lost(rows: Sequence[Mapping[str, str]], column: str, when: str) -> Evidence:
    """How many intervals of STRIKE minus no attack exclude zero."""
    intervals = [ends(row[column]) for row in rows]
    supports = sum(high < 0 for _, high in intervals)
    against = sum(low > 0 for low, _ in intervals)
    numbers = "STRIKE minus no attack: "
    numbers += extremes((row[column], row["Defense"]) for row in rows)
    data = f"{when}: the interval of the loss excludes zero"
    return Evidence(data, supports, against, len(rows), numbers)


def threat() -> list[Evidence]:
    """What STRIKE costs early, at the end, and how many cells are damage."""
    columns = list(records("table1-costs")[0])[1:4]
    found = []
    rows = seven("table1-costs")
    for column, when in zip(
        columns, ("round 60", "end of training", "end, server momentum 0.8"), strict=True
    ):
        found.append(lost(rows, column, f"digits, {when}"))
    for name, server in (("table1-end", "SGD"), ("table1-end-momentum", "momentum 0.8")):
        strike = next(row for row in records(name) if row["Attack"] == "STRIKE")
        cells = [cell for column, cell in strike.items() if column not in ("Attack", "Mean")]
        kept = next(
            row for row in records("delay-verdicts")
            if row["Table"] == "Table 1" and row["Server"].startswith(server)
        )  # fmt: skip
        numbers = (
            f"all attacks, eight rules: {kept['damage']} cells damage, {kept['delay']} delay, "
        )
        numbers += f"{kept['no effect']} no effect"
        damage = sum(cell.startswith("**") for cell in cells)
        data = f"digits, server {server}: STRIKE is damage"
        found.append(Evidence(data, damage, len(cells) - damage, len(cells), numbers))
    rows = seven("cifar10-h100")
    lower = sum(first(row["difference"]) < 0 for row in rows)
    pairs = [(row["difference"], row["Defense"]) for row in rows]
    numbers = "STRIKE minus no attack: " + extremes(pairs)
    data = "CIFAR-10, the paper's scale, mean of two seeds, no test"
    found.append(Evidence(data, lower, len(rows) - lower, len(rows), numbers))
    rows = records("cifar10-costs")
    found.append(lost(rows, "difference [95 %]", "CIFAR-10, reduced, 30 rounds"))
    return [found[1], found[0], *found[2:]]


def levels() -> list[Evidence]:
    """STRIKE over heterogeneity."""
    rows = seven("heterogeneity-leads")
    columns = [name for name in rows[0] if name != "Defense"]
    lower = {"other": 0, "equal shares": 0}
    higher, pairs = dict(lower), {name: [] for name in lower}
    for column in columns:
        kind = column if column in lower else "other"
        for row in rows:
            low, high = ends(row[column])
            lower[kind] += high < 0
            higher[kind] += low > 0
            rival, _, gap = row[column].partition(" ")
            pairs[kind].append((gap, f"{row['Defense']}, {rival}, {_level(column)}"))
    cost = seven("heterogeneity")
    head = "0.1 - equal shares [95 %]"
    clear = [row for row in cost if p_of(row["p"]) <= claims.LEVEL]
    grows = sum(first(row[head]) > 0 for row in clear)
    told = {"other": "non-IID, interval below zero", "equal shares": "IID, the same"}
    parts = [
        Evidence(
            f"digits, lower than all others: {told[kind]}",
            lower[kind], higher[kind], len(pairs[kind]),
            "STRIKE minus lowest other: " + extremes(pairs[kind]),
        )
        for kind in lower
    ]  # fmt: skip
    numbers = "cost at 0.1 minus cost with equal shares: "
    numbers += extremes((row[head], row["Defense"]) for row in cost)
    data = "digits, STRIKE costs more at Dirichlet 0.1 than with equal shares"
    costs = Evidence(data, grows, len(clear) - grows, len(cost), numbers)
    data = "digits, gap to the lowest other larger at Dirichlet 0.1 than with equal shares"
    early = [*parts, signs(data, gaps(), "difference of the gaps", positive=True), costs]
    return [*early, *level_leads(), level_costs()]


def level_leads() -> list[Evidence]:
    """The leads of `delay_tables.level_leads` with and without non-IID data, by their intervals."""
    counts = {"non-IID": [0, 0, 0], "IID": [0, 0, 0]}
    pairs: dict[str, list[tuple[str, str]]] = {name: [] for name in counts}
    for row in records("leads"):
        for column, cell in row.items():
            if column == "Defense":
                continue
            rival, _, gap = cell.rpartition(": ")
            low, high = ends(gap)
            kind = "IID" if column == "equal shares" else "non-IID"
            for place, true in enumerate((high < 0, low > 0, True)):
                counts[kind][place] += true
            pairs[kind].append((gap, f"{row['Defense']}, {rival}, {_level(column)}"))
    what = "digits, end of training, lower than all others: {}, interval below zero"
    return [
        Evidence(
            what.format(kind), *counts[kind],
            "STRIKE minus lowest other: " + extremes(pairs[kind]),
        )
        for kind in counts
    ]  # fmt: skip


def level_costs() -> Evidence:
    """What STRIKE costs at the end at Dirichlet 0.1, less what it costs with equal shares."""
    found = []
    for rule in delay.defenses("beta 0.1"):
        lost = [
            claims.less(
                *(
                    delay.seeds_of(0.0, label, rule, "accuracy_tail", table)
                    for label in ("No attack", "STRIKE")
                )
            )
            for table in ("beta 0.1", "beta equal shares")
        ]
        found.append((DEFENSES[rule], paired_difference(*lost)))
    data = "digits, end of training, STRIKE costs more at Dirichlet 0.1 than with equal shares"
    return signs(data, found, "cost at 0.1 minus cost with equal shares", positive=True)


def _level(column: str) -> str:
    return column if column == "equal shares" else f"Dirichlet {column}"


def gaps() -> list[tuple[str, Difference | None]]:
    """The lowest other attack minus STRIKE, at Dirichlet 0.1 less with equal shares."""
    every = claims.every("heterogeneity-digits")
    beta = {cell.setting.beta for cell in every}
    ends = (min(value for value in beta if value), None)
    found = []
    for name in dict.fromkeys(cell.defense for cell in every):
        leads = []
        for value in ends:
            here = claims.pick(every, beta=value, defense=name)
            rival = claims.lowest(claims.rivals(here, here[0].defense_label))
            leads.append(claims.less(rival.values, claims.values_of(here, "strike", name)))
        found.append((DEFENSES[name], paired_difference(*leads)))
    return found


def mixed(name: str, mixing: str) -> list[Evidence]:
    """STRIKE behind a pre-aggregation: against the other attacks, and against no attack."""
    cells = claims.pick(claims.every(f"{name}-digits"), mixing=mixing)
    lost = [
        (
            DEFENSES[rule],
            paired_difference(*(claims.values_of(cells, a, rule) for a in ("strike", "none"))),
        )
        for rule in dict.fromkeys(cell.defense for cell in cells)
        if rule != "mean"
    ]
    found = [contest(name, "digits, round 60: lower than the other attacks")]
    if name == "bucketing":
        data = "the same for Multi-Krum, RFA and Aksel"
        found.append(contest(name, data, ("Multi-Krum", "RFA", "Aksel")))
    what = "STRIKE minus no attack"
    data = "digits, round 60: lower than without an attack"
    found.append(signs(data, lost, what, positive=False))
    late = "digits, end of training: lower than the other attacks"
    found += [
        at_end(0.0, late, MORE, name),
        at_end(0.0, "the same, and IPM of scale 1 and 2", (), name),
        at_end(0.8, "the same with server momentum 0.8", (), name),
    ]
    lost = end_gaps(name, "STRIKE", "No attack")
    data = "digits, end of training: lower than without an attack"
    return [*found, signs(data, lost, what, positive=False)]


def strength() -> list[Evidence]:
    """Whether another nu costs the defenses clearly more than nu = 1."""
    rows = records("nu")
    bounds = [float(row["nu = 1 - it [95 %]"].rpartition(" ")[2][:-1]) for row in rows]
    pairs = [
        (row["nu = 1 - it [95 %]"], f"{row['Defense']}, nu = {row['lowest other']}") for row in rows
    ]
    stronger = sum(p_of(row["p"]) <= claims.LEVEL for row in rows)
    supports = sum(bound <= CLOSE for bound in bounds)
    data = f"digits, round 60: another nu takes at most {CLOSE:g} points more"
    numbers = "nu = 1 minus the lowest other nu: " + extremes(pairs)
    tuned = []
    told = json.loads((HERE / "tuning_strike_nu_final.json").read_text(encoding="utf-8"))
    for study, comparison in told.items():
        name = DEFENSES[study.partition("defense=")[2].partition(",")[0]]
        usual, best = (dict(zip(s["seeds"], s["test"], strict=True))
                       for s in comparison["looks"][-1]["samples"])  # fmt: skip
        tuned.append((name, paired_difference(usual, best)))
    near = [d for _, d in tuned if d is not None and d.high <= CLOSE]
    worse = [d for _, d in tuned if d is not None and d.low > 0]
    gap = "nu = 1 minus tuned nu: " + extremes((claims.interval(d), name) for name, d in tuned)
    return [
        Evidence(data, supports, stronger, len(rows), numbers),
        Evidence("the same, nu tuned by a study, new seeds", len(near), len(worse),
                 len(tuned), gap),
        *(strength_at_end(momentum, data) for momentum, data in (
            (0.0, f"digits, end of training: another nu takes at most {CLOSE:g} points more"),
            (0.8, "the same with server momentum 0.8"),
        )),
    ]  # fmt: skip


def strength_at_end(momentum: float, data: str) -> Evidence:
    """As `strength`, at the end; the p value of the lowest other nu is times their number."""
    found, ps = [], []
    for rule in delay.defenses("nu"):
        usual = delay.seeds_of(momentum, "STRIKE", rule, "accuracy_tail", "nu")
        other = delay.lowest(momentum, rule, "nu", ("STRIKE",))
        best = delay.seeds_of(momentum, other, rule, "accuracy_tail", "nu")
        d = paired_difference(usual, best)
        assert d is not None
        ps.append(min(1.0, (len(delay.labels("nu")) - 2) * d.p) if d.mean > 0 else 1.0)
        found.append((d, f"{DEFENSES[rule]}, {other.removeprefix('STRIKE, ')}"))
    supports = sum(d.high <= CLOSE for d, _ in found)
    against = sum(p <= claims.LEVEL for p in holm(ps))
    numbers = extremes((claims.interval(d), name) for d, name in found)
    return Evidence(
        data, supports, against, len(found), "nu = 1 minus the lowest other: " + numbers
    )


def hidden() -> list[Evidence]:
    """STRIKE against its controls: p values of the details' table."""
    rows = seven("ablation-differences")
    found = []
    for control, name in CONTROLS.items():
        cells = [(*row[control].split(", p "), row["Defense"]) for row in rows]
        clear = [first(gap) > 0 for gap, p, _ in cells if p_of(p) <= claims.LEVEL]
        numbers = "it minus STRIKE: " + extremes((gap, rule) for gap, _, rule in cells)
        data = f"digits, round 60: STRIKE is stronger than {name}"
        counts = clear.count(True), clear.count(False)
        found.append(Evidence(data, *counts, len(rows), numbers))
    for control, name in CONTROLS.items():
        late = end_gaps("ablation", control, "STRIKE")
        data = f"digits, end of training: STRIKE is stronger than {name}"
        found.append(signs(data, late, "it minus STRIKE", positive=True))
    return found


def skewed() -> list[Evidence]:
    """Statistics of the honest updates against their null, and against equal shares."""
    found, metrics = [], {"rho": "rho", "share on the median's side": "mode_share"}
    for column in metrics:
        rows = [row for row in records("skew") if "equal shares" not in row["data"]]
        cells = [re.match(r"([\d.]+) \(([\d.]+)\), p (.*)", row[column]) for row in rows]
        known = [(float(m[1]), float(m[2]), p_of(m[3])) for m in cells if m]
        clear = [value > null for value, null, p in known if p <= claims.LEVEL]
        ratios = [value / null for value, null, _ in known]
        numbers = f"{column} over its null: {min(ratios):.2f} to {max(ratios):.2f}"
        counts = clear.count(True), clear.count(False)
        data = f"digits, non-IID: {column} above that of symmetric updates"
        found.append(Evidence(data, *counts, len(rows), numbers))
    for column, metric in metrics.items():
        data = f"{column}: more above it than with equal shares"
        found.append(signs(data, excess(metric), "the difference, times 100", positive=True))
    return found


def excess(metric: str) -> list[tuple[str, Difference | None]]:
    """A statistic less its null, at each Dirichlet level and round less with equal shares; in %."""
    rows = pd.read_csv(HERE / "skew-digits-skew.csv")
    rows = rows[rows["metric"] == metric]
    above = rows.assign(excess=100 * (rows["value"] - rows["null"]), seed=rows["seed"].astype(int))

    def seeds(part: pd.DataFrame) -> Seeds:
        return dict(zip(part["seed"], part["excess"], strict=True))

    return [
        (
            f"{beta:g}, round {step}",
            paired_difference(
                seeds(part), seeds(above[above["beta"].isna() & (above["step"] == step)])
            ),
        )
        for (beta, step), part in above.groupby(["beta", "step"])
    ]


def accuracies() -> list[Evidence]:
    """Ours beside the published numbers."""
    pairs = []
    for row in records("cifar10-seed0"):
        for column, cell in row.items():
            match = re.match(r"([\d.]+) \(([\d.]+)\)", cell)
            if match:
                gap = float(match[1]) - float(match[2])
                pairs.append((f"{gap:+.1f}", f"{row['Attack']}, {column}"))
    near = sum(abs(first(gap)) <= NEAR for gap, _ in pairs)
    data = f"CIFAR-10, the paper's scale: at most {NEAR:g} points apart"
    numbers = "ours minus paper: " + extremes(pairs)
    found = [Evidence(data, near, len(pairs) - near, len(pairs), numbers, seeds=1)]
    for task, name in (("cifar10", "CIFAR-10, reduced"), ("femnist", "LEAF digits")):
        rows = [row for row in records("published") if row["Task"] == task]
        kinds = Counter(row[""] for row in rows)
        numbers = "ours minus paper: " + extremes(
            (
                row["ours - paper [90 %]"],
                ", ".join(row[key].partition(" (")[0] for key in ("Attack", "Defense")),
            )
            for row in rows
        )
        found.append(Evidence(name, kinds["agrees"], kinds["differs"], len(rows), numbers))
    return found


def femnist() -> list[Evidence]:
    """The largest gain of the paper."""
    return [contest("femnist", "LEAF digits, DnC, against LIE and MinMax", ("DnC",))]


def restated() -> list[Evidence]:
    """Restated experiments of other papers, by rules and by network."""
    found = []
    for name, label, kept in (
        ("bucketing-exp2", "all rules but the median, two ReLUs", False),
        ("bucketing-exp2", "the median, two ReLUs", True),
        ("bucketing-exp3", "Krum and RFA, two ReLUs", False),
        ("bucketing-exp3", "the median, two ReLUs", True),
        ("bucketing-exp3-one-relu", "the median, the authors' one ReLU", True),
    ):
        rows = [row for row in records(name) if (row["Defense"] == "Median") is kept]
        kinds = Counter(row["verdict"] for row in rows)
        pairs = []
        for row in rows:
            where = (row[key] for key in ("Clients", "Attack") if key in row)
            pairs.append((row["difference of the means [90 %]"],
                          ", ".join([row["Defense"], *where])))  # fmt: skip
        numbers = "ours minus authors': " + extremes(pairs)
        number = name.removeprefix("bucketing-exp")[0]
        data = f"MNIST, experiment {number}, {label}"
        found.append(Evidence(data, kinds["agrees"], kinds["differs"], len(rows), numbers))
    rows = records("byzfl-mnist")
    kinds = Counter(row["verdict"] for row in rows)
    pairs = [
        (row["difference of the means [90 %]"], f"{row['Defense']}, gamma {row['gamma']}")
        for row in rows
    ]
    data = "MNIST, ByzFL's benchmark, two cells, beside ByzFL itself"
    numbers = "ours minus ByzFL's: " + extremes(pairs)
    return [*found, Evidence(data, kinds["agrees"], kinds["differs"], len(rows), numbers)]


def kept(data: str, rows: Sequence[tuple[str, str, str]]) -> Evidence:
    """Accuracy with interval against 95 % of a reference: above, below, undecided."""
    supports = against = 0
    pairs = []
    for value, share, name in rows:
        low, high = (float(x) for x in re.findall(r"[\d.]+", value)[1:3])
        goal = defense.KEEP * 100 * first(value) / first(share)
        supports += low >= goal
        against += high < goal
        pairs.append((value, f"{share.replace(' %', '')} % of the reference, {name}"))
    return Evidence(data, supports, against, len(rows), "accuracy: " + extremes(pairs))


def defended() -> list[Evidence]:
    """The best defense and SignGuard under attackers who do and do not know them."""
    arena = [
        row for row in records("arena", "defense")
        if (row["momentum"], row["beta"]) == ("0.8", "0.5")
    ]  # fmt: skip
    cells = [(row["worst case"], row["of reference"], f"`{row['defense']}`") for row in arena]
    by_rule = {
        row["defense"]: (row["worst case"], row["of reference"], row["attacker"]) for row in arena
    }
    best = defense.CANDIDATE
    fresh = records("fresh", "defense")
    told = [[float(x) for x in re.findall(r"-?[\d.]+", list(row.values())[-1])] for row in fresh]
    last = list(fresh[0])[-1]
    undecided = Evidence(
        f"`{best}`, attackers who know it, 20 seeds",
        sum(low >= 0 for _, low, _ in told), sum(high < 0 for *_, high in told), len(told),
        f"{last}: {extremes((row[last], row['attacker']) for row in fresh)}",
    )  # fmt: skip
    signs_ = [
        (row["test"], row["of reference"], row["attacker"])
        for row in records("sign-own", "defense")
        if "mimic_signs" in row["attacker"] and "place=own" not in row["attacker"]
    ]
    other = {setting: [(r["test"], r["of reference"], r["attacker"])
                       for r in records("elsewhere", "defense") if r["setting"] == setting]
             for setting in ("f = 15", "beta = 0.1")}  # fmt: skip
    return [
        undecided,
        kept(f"`{best}`, the arena's worst attacker", [by_rule[best]]),
        *(kept(f"`{best}`, {name}, attackers who know it", rows) for name, rows in other.items()),
        kept("`sign_guard`, the arena's worst attacker", [by_rule["sign_guard"]]),
        kept("`sign_guard`, attackers who copy sign shares", signs_),
        kept("all defenses, the arena's worst attackers", cells),
    ]
