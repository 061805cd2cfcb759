"""Compute the tables of docs/results/README.md from the files beside this one.

python docs/results/data/claims.py           # write them between the page's markers
python docs/results/data/claims.py --check   # exit 1 where the page says something else

Differences are paired by seed: runs of one seed share partition, participants and initial weights.
Intervals are 95 % t intervals over seeds; p values are Holm's over the rows of a table.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fl_platform.report.cells import Cell, by_setting, cells
from fl_platform.report.names import ATTACKS, DEFENSES, REFERENCES, printed
from fl_platform.report.statistics import Difference, holm, paired_difference
from fl_platform.report.tables import comparison_table

HERE = Path(__file__).parent
PAGE = HERE.parent / "README.md"
LEVEL = 0.05

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


def rivals(found: Iterable[Cell], defense: str) -> list[Cell]:
    """The attacks other than STRIKE and the references against one defense."""
    column = pick(found, defense_label=defense)
    return [cell for cell in column if cell.attack not in (*REFERENCES, "strike")]


def lowest(found: Sequence[Cell]) -> Cell:
    """The cell of the lowest mean."""
    return min(found, key=lambda cell: cell.summary().mean)


def mean(cell: Cell) -> str:
    """Mean ± sample deviation, and how many runs have no part in it."""
    s = cell.summary()
    lost = cell.total - len(cell.values)
    return f"{s.mean:.1f} ± {s.sd:.1f}" + (f" ({lost} lost)" if lost else "")


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


def lowest_of(name: str, **setting: object) -> list[str]:
    """Whether STRIKE is the lowest of the attacks in each column, or another is lower.

    That STRIKE is the lowest is false as soon as one other is as low: its p is the largest over the
    others (an intersection-union test). That some other is lower has the smallest, times their
    number (Bonferroni).
    """
    found = pick(every(name), **setting)
    rows, below, above = [], [], []
    for defense in defenses(found):
        strike = one(found, attack="strike", defense_label=defense)
        others = rivals(found, defense)
        pairs = [paired_difference(strike.values, other.values) for other in others]
        known = [d for d in pairs if d is not None]
        below.append(max(1.0 if d.mean >= 0 else d.p for d in known))
        above.append(min(1.0, len(known) * min(1.0 if d.mean <= 0 else d.p for d in known)))
        rival = lowest(others)
        calm = one(found, attack="none", defense_label=defense)
        d = paired_difference(strike.values, rival.values)
        rows.append([strike.column, mean(calm), mean(strike), rival.row, mean(rival), interval(d)])
    low, high = holm(below), holm(above)
    for row, lo, hi in zip(rows, low, high, strict=True):
        said = "STRIKE is the lowest" if lo <= LEVEL else "another is lower" if hi <= LEVEL else ""
        row += [told(min(lo, hi)), said or "cannot tell"]
    header = ("Defense", "No attack", "STRIKE", "lowest other", "its accuracy")
    return table((*header, "STRIKE - it [95 %]", "p", "verdict"), rows)


def beside(
    first: Sequence[Cell], second: Sequence[Cell], attack: str, heads: tuple[str, str]
) -> list[str]:
    """One attack under two circumstances, defense by defense."""
    rows, ps = [], []
    for defense in dict.fromkeys(cell.defense for cell in second):
        a, b = (one(found, attack=attack, defense=defense) for found in (first, second))
        d = paired_difference(b.values, a.values)
        ps.append(d.p if d else 1.0)
        rows.append([printed(defense, DEFENSES), mean(a), mean(b), interval(d)])
    for row, p in zip(rows, holm(ps), strict=True):
        row.append(told(p))
    return table(("Defense", *heads, "difference [95 %]", "p"), rows)


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


BLOCKS: dict[str, Callable[[], list[str]]] = {
    "table1-digits": lambda: lowest_of("table1-digits"),
    "femnist": lambda: lowest_of("femnist", preset="none"),
    "femnist-official": lambda: beside(
        pick(every("femnist"), preset="none"),
        pick(every("femnist"), preset="official"),
        "strike",
        ("our defaults: eq. 6 to 13", "its authors' code"),
    ),
    "published": lambda: printed_values(("femnist",)),
}


def main(arguments: Sequence[str]) -> int:
    """Write the page's tables, or check them."""
    text = PAGE.read_text(encoding="utf-8")

    def block(match: re.Match[str]) -> str:
        lines = BLOCKS[match["name"]]()
        return "\n".join([match["head"], *lines, match["tail"]])

    pattern = r"(?P<head><!-- claims: (?P<name>[\w-]+) -->)\n.*?(?P<tail><!-- end -->)"
    fresh = re.sub(pattern, block, text, flags=re.DOTALL)
    if "--check" in arguments:
        return int(fresh != text)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
