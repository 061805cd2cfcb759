"""Compute the tables of ../README.md and ../training-end.md from the files beside this one.

python docs/results/data/claims.py           # write them between the pages' markers
python docs/results/data/claims.py --check   # exit 1 where a page says something else

Differences are paired by seed: runs of one seed share partition, participants and initial weights.
Intervals are 95 % t intervals over seeds; p values are Holm's over the rows of a table.
"""

from __future__ import annotations

import functools
import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import delay_tables
import pandas as pd

from fl_platform.grid.papers import restated
from fl_platform.report.cells import Cell, by_setting, cells
from fl_platform.report.labels import ATTACKS, DEFENSES, REFERENCES, printed
from fl_platform.report.statistics import Difference, holm, paired_difference, summarize
from fl_platform.report.tables import comparison_table
from fl_platform.report.tables.comparison import restated_table

HERE = Path(__file__).parent
PAGES = tuple(HERE.parent / name for name in ("README.md", "training-end.md"))
LEVEL = 0.05
TWO_RELUS = ("model.relus=2",)  # the network of the recorded runs of the bucketing paper
MIXINGS = {"": "none", "bucketing": "buckets of 2", "clipping+nnm": "clipping, NNM"}
COMMANDS = {  # by name of the file
    "byzfl-mnist": "papers/byzfl_mnist task.data.root=DATA attack=ipm task.clients=13"
    " byzantine.count=3 partition.gamma=0.33 defense=rfa` and `partition.gamma=0.0"
    " defense=trimmed_mean",
    "bucketing-exp2": "papers/bucketing_exp2 model.relus=2 task.data.root=DATA",
    "bucketing-exp3": "papers/bucketing_exp3 model.relus=2 task.data.root=DATA"
    " defense=krum,median,rfa",
    "bucketing-exp3-one-relu": "papers/bucketing_exp3 task.data.root=DATA defense=median` and"
    " `worker.momentum=0.9 mixing=none defense=rfa attack=lie,ipm",
    "bucketing-exp2-drawn": "papers/bucketing_exp2 model.masks=drawn task.data.root=DATA"
    " partition.order=sorted mixing=none defense=median seed=0",
    "bucketing-exp2-one-relu": "papers/bucketing_exp2 task.data.root=DATA defense=median"
    " partition.order=sorted",
    "delay-digits": "delay 'seed=range(0,5)'` and `server.optimizer=fedavgm server.momentum=0.8"
    " rounds=150",
    "delay-tables": "NAME task=digits rounds=250 'seed=range(0,3)'` and"
    " `server.optimizer=fedavgm server.momentum=0.8 rounds=150`; each NAME with its settings:"
    " [training's end](training-end.md)",
    "table1-cifar10": "table1 task=cifar10 task.data.root=DATA runtime.precision=tf32"
    " task.data.accept_digest=SUM attack.side=below 'seed=range(0,2)'",
    "table1-mnist": "table1_mnist task.data.root=DATA seed=0",
    "table1-digits": "table1 task=digits attack.side=below 'seed=range(0,10)'",
    "presets-digits": "table1 task=digits preset=official attack.side=above 'seed=range(0,10)'` and"
    " `preset=paper attack.side=below",
    "heterogeneity-digits": "fig8 task=digits attack=none,strike,bit_flip,ipm,lie,mimic"
    " attack.side=below"
    " 'seed=range(0,10)'",
    "nnm-digits": "table2 task=digits attack.side=below 'seed=range(0,10)'` and"
    " `mixing.include_self=false"
    " attack=none,bit_flip,lie,strike",
    "bucketing-digits": "fig4 task=digits mixing.s=2 attack.side=below 'seed=range(0,10)'` and"
    " `fig4"
    " task=digits mixing.s=2 mixing.f_after=ceil attack=none,bit_flip,ipm,strike"
    " 'seed=range(0,10)'",
    "nu-digits": "fig7 task=digits 'seed=range(0,10)'",
    "ablation-digits": "ablation task=digits 'seed=range(0,10)'",
    "skew-digits": "fig2 task=digits observers.cloud.every=0 task.clients=50"
    " task.beta=0.1,0.2,0.5,0.7,0.9"
    " 'seed=range(0,10)'` and `task.partition=iid task.beta=null",
    "cifar10-reduced": "cifar10_reduced task.data.root=DATA task.data.accept_digest=SUM",
    "imagenet12-reduced": "imagenet12_reduced task.data.root=DATA attack=strike,none"
    " task.state=parameters,all task.model.norm=batch",
    "femnist": "femnist_reduced task.data.root=DATA attack.side=below` and `femnist_reduced"
    " task.data.root=DATA attack=strike preset=official",
}
PLANNED = {  # runs of the commands, where not all were made
    "bucketing-exp2": 60,
    "bucketing-exp2-one-relu": 6,
    "table1-cifar10": 144,
    "ablation-digits": 880,
    "imagenet12-reduced": 12,
}
SKEW = {"rho": "rho", "mode_share": "share on the median's side", "sk2": "Sk2", "t3": "T3"}
STATE = {
    "round/honest_radius": "honest radius",
    "skew/rho": "rho",
    "round/cosine": "cosine to the honest mean",
    "round/loss": "honest training loss",
}
ENDS = {0.0: "", 0.8: "-momentum"}  # names of blocks, by the server's momentum
CONTROLS = {  # by label: the controls of the ablation, as they are read
    "lie_matched(match=step)": "LIE at STRIKE's step",
    "lie_matched(match=total)": "LIE at STRIKE's distance",
    "lie_matched(match=step, side=above)": "LIE above, at STRIKE's step",
    "lie_matched(match=total, side=above)": "LIE above, at STRIKE's distance",
    "strike_ablation(skewed_set=random, nu=1)": "STRIKE on random rows",
    "strike_ablation(skewed_set=all, nu=1)": "STRIKE on all rows",
    "strike_ablation(skewed_set=reversed, nu=1)": "STRIKE on the least skewed rows",
}

Seeds = Mapping[int, float]


@functools.cache
def frame(name: str) -> pd.DataFrame:
    """The rows of NAME.csv as ``cells`` wants them."""
    rows = pd.read_csv(HERE / f"{name}.csv", keep_default_na=False, na_values={"beta": [""]})
    for column in ("nu", "accuracy_tail", "accuracy_last", "accuracy_best", "beta"):
        rows[column] = pd.to_numeric(rows[column], errors="coerce")
    return rows


@functools.cache
def every(name: str) -> tuple[Cell, ...]:
    """All cells of NAME.csv."""
    return tuple(cells(frame(name)))


def pick(found: Iterable[Cell], **what: object) -> list[Cell]:
    """The cells whose attributes (or those of whose setting) are as asked."""
    return [
        cell
        for cell in found
        if all(getattr(cell, k, getattr(cell.setting, k, None)) == v for k, v in what.items())
    ]


def one(found: Iterable[Cell], **what: object) -> Cell:
    """The only such cell."""
    (cell,) = pick(found, **what)
    return cell


def defenses(found: Iterable[Cell]) -> list[str]:
    """The defense labels there are, in the order of the tables."""
    return list(dict.fromkeys(cell.defense_label for cell in found))


def robust(name: str) -> list[Cell]:
    """The cells of NAME.csv but those of the plain mean."""
    return [cell for cell in every(name) if cell.defense != "mean"]


def values_of(found: Iterable[Cell], attack: str, defense: str) -> Seeds:
    """Accuracy by seed of the only cell of an attack against a defense."""
    return one(found, attack=attack, defense=defense).values


def less(first: Seeds, second: Seeds) -> dict[int, float]:
    """First - second of each seed that both have."""
    return {seed: first[seed] - second[seed] for seed in first.keys() & second.keys()}


def rivals(found: Iterable[Cell], defense: str) -> list[Cell]:
    """The attacks other than STRIKE and the references against one defense."""
    column = pick(found, defense_label=defense)
    return [cell for cell in column if cell.attack not in (*REFERENCES, "strike")]


def lowest(found: Sequence[Cell]) -> Cell:
    """The cell of the lowest mean."""
    return min(found, key=lambda cell: cell.summary().mean)


def mean(cell: Cell) -> str:
    """Mean ± sample deviation, of one run itself, and how many have no part in it."""
    s = cell.summary()
    lost = cell.total - len(cell.values)
    spread = f" ± {s.sd:.1f}" if s.n > 1 else ""
    return f"{s.mean:.1f}{spread}" + (f" ({lost} lost)" if lost else "")


def interval(d: Difference | None) -> str:
    """A difference and its interval."""
    return "too few seeds" if d is None else f"{d.mean:+.1f} [{d.low:+.1f}, {d.high:+.1f}]"


def told(p: float) -> str:
    """A p value as it is printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}", *body]


def contest(strike: Seeds, others: Sequence[Seeds]) -> tuple[float, float]:
    """p values of two statements: STRIKE is the lowest, and some other is lower.

    That STRIKE is the lowest is false as soon as one other is as low: its p is the largest over the
    others (an intersection-union test). That some other is lower has the smallest, times their
    number (Bonferroni).
    """
    known = [d for d in (paired_difference(strike, other) for other in others) if d is not None]
    below = max(1.0 if d.mean >= 0 else d.p for d in known)
    return below, min(1.0, len(known) * min(1.0 if d.mean <= 0 else d.p for d in known))


def decided(below: float, above: float) -> str:
    """The verdict of two p values of `contest`, adjusted."""
    if below <= LEVEL:
        return "STRIKE is the lowest"
    return "another is lower" if above <= LEVEL else "cannot tell"


def lowest_of(name: str, **setting: object) -> list[str]:
    """Whether STRIKE is the lowest of the attacks in each column, or another is lower."""
    found = pick(every(name), **setting)
    rows, below, above = [], [], []
    for defense in defenses(pick(found, attack="strike")):
        strike = one(found, attack="strike", defense_label=defense)
        others = rivals(found, defense)
        p_below, p_above = contest(strike.values, [other.values for other in others])
        below.append(p_below)
        above.append(p_above)
        rival = lowest(others)
        calm = one(found, attack="none", defense_label=defense)
        d = paired_difference(strike.values, rival.values)
        rows.append([strike.column, mean(calm), mean(strike), rival.row, mean(rival), interval(d)])
    low, high = holm(below), holm(above)
    for row, lo, hi in zip(rows, low, high, strict=True):
        row += [told(min(lo, hi)), decided(lo, hi)]
    header = ("Defense", "No attack", "STRIKE", "lowest other", "its accuracy")
    return table((*header, "STRIKE - it [95 %]", "p", "verdict"), rows)


def beside(
    first: Sequence[Cell],
    second: Sequence[Cell],
    attacks: str | tuple[str, str],
    heads: tuple[str, str],
) -> list[str]:
    """An attack under two circumstances, or one in each, defense by defense."""
    one_each = (attacks, attacks) if isinstance(attacks, str) else attacks
    rows, ps = [], []
    for defense in dict.fromkeys(cell.defense for cell in second):
        a, b = (
            one(found, attack=attack, defense=defense)
            for found, attack in zip((first, second), one_each, strict=True)
        )
        d = paired_difference(b.values, a.values)
        ps.append(d.p if d else 1.0)
        rows.append([printed(defense, DEFENSES), mean(a), mean(b), interval(d)])
    for row, p in zip(rows, holm(ps), strict=True):
        row.append(told(p))
    return table(("Defense", *heads, "difference [95 %]", "p"), rows)


def behind(name: str, mixing: str, read: str) -> list[str]:
    """What STRIKE leaves on digits without mixing and behind one."""
    mixed = pick(every(name), mixing=mixing)
    heads = ("without mixing", f"behind {read}")
    return beside(every("table1-digits"), mixed, "strike", heads)


def matrix(found: Sequence[Cell]) -> list[str]:
    """Every attack against every defense."""
    columns = list(dict.fromkeys(cell.column for cell in found))
    rows = {cell.attack_label: cell.row for cell in found}
    names = [CONTROLS.get(label, row) for label, row in rows.items()]
    body = [
        [name, *(mean(one(found, attack_label=label, column=column)) for column in columns)]
        for name, label in zip(names, rows, strict=True)
    ]
    return table(("Attack", *columns), body)


def each_seed(name: str, first: str, second: str, heads: tuple[str, str]) -> list[str]:
    """Accuracies of two attacks, seed by seed, and the mean of their paired differences."""
    found = every(name)
    body = []
    for defense in defenses(found):
        ours, theirs = (
            one(found, attack=attack, defense_label=defense).values for attack in (first, second)
        )
        differences = less(theirs, ours)
        gap = sum(differences.values()) / len(differences) if differences else math.nan
        listed = [", ".join(f"{v:.1f}" for _, v in sorted(s.items())) for s in (ours, theirs)]
        label = next(cell.column for cell in found if cell.defense_label == defense)
        body.append([label, *listed, f"{gap:+.1f}"])
    return table(("Defense", *(f"{head}, seeds 0, 1" for head in heads), "difference"), body)


def against(name: str, controls: Sequence[str]) -> list[str]:
    """What is left under each control less what is left under STRIKE, defense by defense."""
    found = every(name)
    rows, ps = [], []
    for defense in dict.fromkeys(cell.defense for cell in found):
        strike = values_of(found, "strike", defense)
        row = [printed(defense, DEFENSES)]
        for label in controls:
            control = one(found, attack_label=label, defense=defense)
            d = paired_difference(control.values, strike)
            ps.append(d.p if d else 1.0)
            row.append(interval(d))
        rows.append(row)
    adjusted = iter(holm(ps))
    for row in rows:
        row[1:] = [f"{text}, p {told(next(adjusted))}" for text in row[1:]]
    return table(("Defense", *(CONTROLS[label] for label in controls)), rows)


def strengths(name: str) -> list[str]:
    """What each nu leaves, and whether the lowest of the others leaves less than nu = 1.

    The other nu is picked after looking, so its p is times their number, then Holm's.
    """
    found = pick(every(name), attack="strike")
    usual = [cell for cell in found if cell.nu == 1]
    tried = sorted({cell.nu for cell in found if cell.nu is not None})
    rows, ps = [], []
    for defense in dict.fromkeys(cell.defense for cell in found):
        here = {cell.nu: cell for cell in found if cell.defense == defense}
        best = lowest([cell for nu, cell in here.items() if nu != 1])
        d = paired_difference(one(usual, defense=defense).values, best.values)
        ps.append(min(1.0, (len(tried) - 1) * d.p) if d and d.mean > 0 else 1.0)
        levels = [f"{here[nu].summary().mean:.1f}" for nu in tried]
        rows.append([printed(defense, DEFENSES), *levels, f"{best.nu:g}", interval(d)])
    for row, p in zip(rows, holm(ps), strict=True):
        row.append(told(p))
    nus = [f"nu = {nu:g}" for nu in tried]
    return table(("Defense", *nus, "lowest other", "nu = 1 - it [95 %]", "p"), rows)


def costs(name: str) -> list[str]:
    """What STRIKE costs at each heterogeneity, and how much more at the strongest than without.

    The cost is no attack - STRIKE of one seed; the last columns compare it between Dirichlet 0.1
    and equal shares.
    """
    levels = sorted({cell.setting.beta for cell in every(name)}, key=lambda b: b or 1e9)
    rows, ps = [], []
    for defense in dict.fromkeys(cell.defense for cell in every(name)):
        cost = {
            beta: less(
                *(values_of(pick(every(name), beta=beta), a, defense) for a in ("none", "strike"))
            )
            for beta in levels
        }
        d = paired_difference(cost[levels[0]], cost[levels[-1]])
        ps.append(d.p if d else 1.0)
        means = [f"{summarize(list(by_seed.values())).mean:.1f}" for by_seed in cost.values()]
        rows.append([printed(defense, DEFENSES), *means, interval(d)])
    for row, p in zip(rows, holm(ps), strict=True):
        row.append(told(p))
    heads = [f"{b:g}" if b is not None else "equal shares" for b in levels]
    return table(("Defense", *heads, f"{heads[0]} - {heads[-1]} [95 %]", "p"), rows)


def leads(name: str) -> list[str]:
    """The lowest attack at each heterogeneity, and how far STRIKE is from the lowest other."""
    levels = sorted({cell.setting.beta for cell in every(name)}, key=lambda b: b or 1e9)
    rows = []
    for defense in dict.fromkeys(cell.defense for cell in every(name)):
        row = [printed(defense, DEFENSES)]
        for beta in levels:
            found = pick(every(name), beta=beta, defense=defense)
            rival = lowest(rivals(found, found[0].defense_label))
            d = paired_difference(values_of(found, "strike", defense), rival.values)
            row.append(f"{rival.row} {interval(d)}")
        rows.append(row)
    heads = [f"{b:g}" if b is not None else "equal shares" for b in levels]
    return table(("Defense", *heads), rows)


def changed(first: Sequence[Cell], second: Sequence[Cell], heads: tuple[str, str]) -> list[str]:
    """The cells that differ between two circumstances, of all that both have (Holm over all)."""
    rows, ps = [], []
    for cell in second:
        try:
            usual = one(first, attack=cell.attack, defense=cell.defense)
        except ValueError:
            continue
        d = paired_difference(cell.values, usual.values)
        ps.append(d.p if d else 1.0)
        names = [printed(cell.attack, ATTACKS), printed(cell.defense, DEFENSES)]
        rows.append([" / ".join(names), mean(usual), mean(cell), interval(d)])
    kept = [[*row, told(p)] for row, p in zip(rows, holm(ps), strict=True) if p <= LEVEL]
    kept = kept or [["none of them", "", "", "", ""]]
    return table((f"of {len(rows)} cells", *heads, "difference [95 %]", "p"), kept)


def skewness(names: Mapping[str, str]) -> list[str]:
    """Skew of honest updates less its null, paired by seed, at each heterogeneity and round."""
    rows, ps = [], []
    for name, title in names.items():
        known = pd.read_csv(HERE / f"{name}-skew.csv")
        known["beta"] = known["beta"].fillna(math.inf)
        for (beta, step), at in known.groupby(["beta", "step"]):
            of = f"{title}, {'equal shares' if beta == math.inf else f'{beta:g}'}"
            row = [of, str(step), str(at["seed"].nunique())]
            for metric in SKEW:
                kept = at[at["metric"] == metric].set_index("seed")
                d = paired_difference(kept["value"].to_dict(), kept["null"].to_dict())
                ps.append(d.p if d else 1.0)
                row.append(f"{kept['value'].mean():.3f} ({kept['null'].mean():.3f})")
            rows.append(row)
    adjusted = iter(holm(ps))
    for row in rows:
        row[3:] = [f"{text}, p {told(next(adjusted))}" for text in row[3:]]
    return table(("data", "round", "runs", *SKEW.values()), rows)


def measured(name: str, keys: Mapping[str, str]) -> list[str]:
    """Every cell with its accuracy and other ends of its curves, variant by variant."""
    rows = []
    for cell in every(name):
        if not cell.values:
            continue
        values = [[float(run[key]) for run in cell.runs] for key in keys]
        last = [f"{summarize(v).mean:.3g}" for v in values]
        variant = cell.setting.variant or "usual"
        rows.append([variant, cell.row, cell.column, str(len(cell.values)), mean(cell), *last])
    return table(("variant", "attack", "defense", "seeds", "accuracy", *keys.values()), rows)


def ends(first: Cell, second: Cell, keys: Mapping[str, str], heads: tuple[str, str]) -> list[str]:
    """The ends of curves of two cells, key by key, paired by seed."""
    rows, ps = [], []
    for key, name in keys.items():
        a, b = (
            {int(run["seed"]): float(run[key]) for run in cell.runs} for cell in (first, second)
        )
        d = paired_difference(b, a)
        ps.append(d.p if d else 1.0)
        low = "too few seeds" if d is None else f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
        rows.append([name, *(f"{summarize(list(v.values())).mean:.3f}" for v in (a, b)), low])
    for row, p in zip(rows, holm(ps), strict=True):
        row.append(told(p))
    return table(("at the end", *heads, "difference [95 %]", "p"), rows)


def printed_values(names: Sequence[str]) -> list[str]:
    """Ours beside each published cell."""
    rows = []
    for name in names:
        for setting, group in by_setting(every(name)).items():
            compared = comparison_table(group)
            for r in compared.records if compared else ():
                low, high = r["difference_low90"], r["difference_high90"]
                said = "" if low is None else f" [{low:+.1f}, {high:+.1f}]"
                rows.append(
                    [
                        setting.task,
                        setting.preset,
                        printed(str(r["attack"]), ATTACKS),
                        printed(str(r["defense"]), DEFENSES),
                        f"{r['mean']:.1f} ± {r['sd']:.1f}",
                        f"{r['published_mean']:.1f} ± {r['published_sd']:.1f}",
                        f"{r['difference']:+.1f}{said}",
                        str(r["verdict"]),
                    ]
                )
    header = ("Task", "preset", "Attack", "Defense", "ours", "paper")
    return table((*header, "ours - paper [90 %]", ""), rows)


def accounts(commands: Mapping[str, str]) -> list[str]:
    """What was run, by which command, with what code, where, and what it took."""
    rows = []
    for name, command in commands.items():
        told = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
        lost = f", {told['not_finished']} not finished" if told["not_finished"] else ""
        planned = f" of {PLANNED[name]}" if name in PLANNED else ""
        gpus = [device for device in told["device"] if device != "cpu"]
        machines = gpus or sorted({_processor(text) for text in told["processor"] if text})
        changed = "+" * ("true" in told["dirty"])
        rows.append(
            [
                f"[{name}]({Path('data', f'{name}.csv').as_posix()})",
                f"`fl-platform grid {command}" + "`" * (command.count("`") % 2 == 0),
                f"{told['runs']}{planned}{lost}",
                f"{told['seconds'] / 3600:.2f}",
                ", ".join(commit[:7] + changed for commit in told["commit"] if commit),
                f"{', '.join(machines)}; torch {', '.join(told['torch'])}",
            ]
        )
    header = ("rows", "command", "runs", "hours, summed", "commit", "machine")
    return table(header, rows)


def _processor(told: str) -> str:
    """A processor by its name and its widest vectors."""
    words = told.split()
    widest = next((v for v in ("avx512f", "avx2") if v in words), "")
    name = told.partition(" a")[0].replace("(R)", "")
    return f"{name} ({widest.removesuffix('f').upper()})" if widest else name


@functools.cache
def published_beside(
    name: str, experiment: str, variant: tuple[str, ...]
) -> tuple[dict[str, Any], ...]:
    """One record per cell of a restated paper: ours and its authors' seeds."""
    rows = frame(name)
    paper = restated(HERE.parents[2], experiment, sorted(set(rows["seed"])), variant)
    assert paper is not None
    whole = {identity[:16]: identity for identity in paper.cells}
    rows = rows.assign(config_hash=[whole.get(short, short) for short in rows["config_hash"]])
    tables = [restated_table(group, paper) for group in by_setting(cells(rows)).values()]
    return tuple(record for found in tables if found for record in found.records)


def restatement(
    name: str,
    experiment: str,
    columns: tuple[str, ...],
    variant: tuple[str, ...] = TWO_RELUS,
    only: str = "",
) -> list[str]:
    """Ours beside the authors' seeds, per cell of a restated paper; names of the first columns.

    ``only`` is the setting of rows that all have the same one.
    """
    lines = []
    for r in published_beside(name, experiment, variant):
        low, high = r["difference_low90"], r["difference_high90"]
        said = "" if low is None else f" [{low:+.1f}, {high:+.1f}]"
        setting = str(r["variant"]).rpartition("=")[2] or only
        attack = [ATTACKS.get(str(r["attack"]).partition("(")[0], str(r["attack"]))]
        base = str(r["defense"]).partition("(")[0]
        mixing = MIXINGS[str(r["mixing"]).partition("(")[0]]
        band = f"{r['published_low']:.1f} to {r['published_high']:.1f}"
        spread = "" if math.isnan(r["sd"]) else f" ± {r['sd']:.1f}"
        ours = f"{r['mean']:.1f}{spread}"
        first = [setting, *(attack if "Attack" in columns else []), mixing]
        head = [*first, DEFENSES.get(base, base), ours, band]
        lines.append([*head, f"{r['difference']:+.1f}{said}", str(r["verdict"])])
    header = (*columns, "Pre-aggregation", "Defense", "ours", "authors' seeds")
    return table((*header, "difference of the means [90 %]", "verdict"), lines)


def mask_losses() -> list[str]:
    """Training loss over test loss under the plain mean, of the authors' seeds and two runs."""
    rows = pd.read_csv(HERE / "bucketing-masks.csv")
    names = {"authors": "authors'", "fixed": "ours, never drawn anew", "drawn": "ours, drawn anew"}
    body = []
    for r in rows.itertuples():
        losses = f"{r.training_loss:.3f}", f"{r.test_loss:.3f}"
        ratio = f"{r.training_loss / r.test_loss:.2f}"
        body.append([names[r.masks], str(r.seed), str(r.round), *losses, ratio])
    return table(("Masks", "seed", "round", "training loss", "test loss", "ratio"), body)


def agreements() -> list[str]:
    """How many cells of the two bucketing experiments agree with their authors' seeds."""
    rows = [
        (name, line[2:-2].split(" | "))
        for name in ("bucketing-exp2", "bucketing-exp3")
        for line in BLOCKS[name]()[2:]
    ]
    verdicts = ("agrees", "differs", "cannot tell")
    kinds: dict[str, Callable[[str, str], bool]] = {
        "experiment 2": lambda name, _: name == "bucketing-exp2",
        "experiment 3": lambda name, _: name == "bucketing-exp3",
        "the median, both experiments": lambda _, rule: rule == "Median",
        "Krum and RFA, both experiments": lambda _, rule: rule in ("Krum", "RFA"),
    }
    body = []
    for title, belongs in kinds.items():
        said = [row[-1] for name, row in rows if belongs(name, row[-5])]
        counts = [str(said.count(verdict)) for verdict in verdicts]
        body.append([title, str(len(said)), *counts])
    return table(("cells", "number", *verdicts), body)


def distances() -> list[str]:
    """How far the median in experiment 3 is from the authors' seeds, with either network."""
    body = []
    for relus, name, variant in (
        ("2", "bucketing-exp3", TWO_RELUS),
        ("1", "bucketing-exp3-one-relu", ()),
    ):
        found = [
            r
            for r in published_beside(name, "papers/bucketing_exp3", variant)
            if str(r["defense"]).startswith("median")
        ]
        outside = [
            max(r["published_low"] - r["mean"], r["mean"] - r["published_high"], 0.0) for r in found
        ]
        counts = [len(found), sum(r["verdict"] == "agrees" for r in found), outside.count(0.0)]
        ends = f"{statistics.median(outside):.1f}", f"{max(outside):.1f}"
        body.append([relus, *map(str, counts), *ends])
    outside_by = ("points outside, half of the cells at most", "all at most")
    return table(("ReLUs", "cells", "agrees", "within the seeds", *outside_by), body)


def seed_matrix(name: str, seed: int) -> list[str]:
    """Each attack against each defense in one seed, the paper's mean in brackets."""
    found = every(name)
    published = {
        (r["attack"], r["defense"]): r["published_mean"]
        for group in by_setting(found).values()
        for r in getattr(comparison_table(group), "records", ())
    }
    rows = []
    for label in dict.fromkeys(cell.attack_label for cell in found):
        line = [next(cell.row for cell in found if cell.attack_label == label)]
        for defense in defenses(found):
            cell = one(found, attack_label=label, defense_label=defense)
            value = cell.values.get(seed)
            names = (
                (a, d) for a in (cell.attack_label, cell.attack) for d in (defense, cell.defense)
            )
            paper = next((published[pair] for pair in names if pair in published), None)
            said = "" if paper is None else f" ({paper:.1f})"
            line.append("" if value is None else f"{value:.1f}{said}")
        rows.append(line)
    columns = {cell.defense_label: cell.column for cell in found}
    return table(("Attack", *(columns[name] for name in defenses(found))), rows)


def delay(rows: str, header: str, *given: object) -> list[str]:
    """A table of `delay_tables`, by the names of its rows and its header."""
    head = getattr(delay_tables, header)
    body = getattr(delay_tables, rows)(*given)
    return table(head(*given) if callable(head) else head, body)


BLOCKS: dict[str, Callable[[], list[str]]] = {
    "delay-verdicts": lambda: delay("verdicts", "VERDICT_HEADER"),
    **{
        f"{table}-costs": partial(delay, "strike_costs", "STRIKE_HEADER", table)
        for table in ("table1", "nnm", "bucketing", "official", "paper")
    },
    **{
        f"{table.replace(' ', '-')}-end{end}": partial(delay, "cells", "header", momentum, table)
        for table in delay_tables.TABLES
        for momentum, end in ENDS.items()
    },
    **{
        f"{name}{end}": partial(delay, rows, header, momentum)
        for name, rows, header in (
            ("controls", "control_gaps", "control_header"),
            ("levels", "level_costs", "level_header"),
            ("leads", "level_leads", "level_header"),
        )
        for momentum, end in ENDS.items()
    },
    "bucketing-exp2": lambda: restatement("bucketing-exp2", "papers/bucketing_exp2", ("Clients",)),
    "bucketing-exp3": lambda: restatement(
        "bucketing-exp3", "papers/bucketing_exp3", ("Worker momentum", "Attack")
    ),
    "bucketing-verdicts": agreements,
    "bucketing-distances": distances,
    "bucketing-exp2-one-relu": lambda: restatement(
        "bucketing-exp2-one-relu", "papers/bucketing_exp2", ("Clients",), (), "sorted"
    ),
    "bucketing-exp3-one-relu": lambda: restatement(
        "bucketing-exp3-one-relu",
        "papers/bucketing_exp3",
        ("Worker momentum", "Attack"),
        (),
        "0.9",
    ),
    "bucketing-exp2-drawn": lambda: restatement(
        "bucketing-exp2-drawn",
        "papers/bucketing_exp2",
        ("Clients",),
        ("model.masks=drawn",),
        "sorted",
    ),
    "bucketing-masks": mask_losses,
    "byzfl-mnist": lambda: restatement("byzfl-mnist", "papers/byzfl_mnist", ("gamma",), ()),
    "mnist-seed0": lambda: seed_matrix("table1-mnist", 0),
    "cifar10-seed0": lambda: seed_matrix("table1-cifar10", 0),
    "runs": lambda: accounts(COMMANDS),
    "table1-digits": lambda: lowest_of("table1-digits"),
    "presets-official": lambda: changed(
        every("table1-digits"),
        pick(every("presets-digits"), preset="official"),
        ("our defaults then", "preset=official"),
    ),
    "presets-official-lowest": lambda: lowest_of("presets-digits", preset="official"),
    "presets-paper": lambda: changed(
        every("table1-digits"),
        pick(every("presets-digits"), preset="paper"),
        ("our defaults", "preset=paper"),
    ),
    "heterogeneity": lambda: costs("heterogeneity-digits"),
    "heterogeneity-leads": lambda: leads("heterogeneity-digits"),
    "nnm": lambda: lowest_of("nnm-digits", mixing="nnm"),
    "nnm-strike": lambda: behind("nnm-digits", "nnm", "NNM"),
    "nnm-official": lambda: beside(
        pick(every("nnm-digits"), mixing="nnm"),
        pick(every("nnm-digits"), mixing="nnm(include_self=False)"),
        "strike",
        ("with itself", "without itself"),
    ),
    "bucketing": lambda: lowest_of("bucketing-digits", mixing="bucketing(s=2)"),
    "bucketing-strike": lambda: behind("bucketing-digits", "bucketing(s=2)", "bucketing"),
    "bucketing-official": lambda: changed(
        pick(every("bucketing-digits"), mixing="bucketing(s=2)"),
        pick(every("bucketing-digits"), mixing="bucketing(s=2, f_after=ceil)"),
        ("f", "f / s, rounded up"),
    ),
    "nu": lambda: strengths("nu-digits"),
    "ablation": lambda: matrix(every("ablation-digits")),
    "ablation-differences": lambda: against(
        "ablation-digits", [label for label in CONTROLS if "match=step" not in label]
    ),
    "skew": lambda: skewness({"skew-digits": "digits"}),
    "cifar10-h100": lambda: each_seed("table1-cifar10", "none", "strike", ("no attack", "STRIKE")),
    "cifar10": lambda: lowest_of("cifar10-reduced"),
    "cifar10-cells": lambda: matrix(robust("cifar10-reduced")),
    "cifar10-costs": lambda: beside(
        robust("cifar10-reduced"),
        robust("cifar10-reduced"),
        ("none", "strike"),
        ("No attack", "STRIKE"),
    ),
    "cifar10-side": lambda: beside(
        robust("cifar10-reduced"),
        pick(robust("cifar10-reduced"), attack_label="lie(z=1.5, side=above)"),
        ("strike", "lie"),
        ("STRIKE", "LIE above the mean"),
    ),
    "imagenet12": lambda: measured("imagenet12-reduced", STATE),
    "imagenet12-state": lambda: ends(
        *(
            one(every("imagenet12-reduced"), variant=f"task.state={s}", attack="strike")
            for s in ("parameters", "all")
        ),
        STATE,
        ("parameters", "all state"),
    ),
    "femnist": lambda: lowest_of("femnist", preset="none"),
    "femnist-official": lambda: beside(
        pick(every("femnist"), preset="none"),
        pick(every("femnist"), preset="official"),
        "strike",
        ("our defaults: eq. 6 to 13", "its authors' code"),
    ),
    "published": lambda: printed_values(("cifar10-reduced", "femnist")),
}


def rewrite(page: Path, blocks: Mapping[str, Callable[[], list[str]]], check: bool) -> int:
    """Write the blocks between a page's markers; with ``check``, 1 where it says another thing."""
    text = page.read_text(encoding="utf-8")

    def block(match: re.Match[str]) -> str:
        return "\n".join([match["head"], *blocks[match["name"]](), match["tail"]])

    pattern = r"(?P<head><!-- claims: (?P<name>[\w.-]+) -->)\n.*?(?P<tail><!-- end -->)"
    fresh = re.sub(pattern, block, text, flags=re.DOTALL)
    if check:
        return int(fresh != text)
    page.write_text(fresh, encoding="utf-8")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Write the pages' tables, or check them."""
    return max(rewrite(page, BLOCKS, "--check" in arguments) for page in PAGES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
