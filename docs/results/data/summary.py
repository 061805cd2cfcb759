"""Compute the blocks and the figure of docs/results/summary.md.

python docs/results/data/summary.py           # write them
python docs/results/data/summary.py --check   # exit 1 where the page says something else
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import claims
import defense
import evidence
import numpy as np
import pandas as pd
from evidence import Evidence
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fl_platform.report.figures.style import GREY, VERMILION
from fl_platform.report.statistics import summarize

HERE = Path(__file__).parent
PAGE = HERE.parent / "summary.md"
FIGURE = HERE.parent / "figures" / "skew-digits.png"


class Claim(NamedTuple):
    """A claim in the words of its paper, and what the rows say."""

    section: str
    words: str
    evidence: Callable[[], list[Evidence]]  # the decisive one first

    def verdict(self) -> str:
        """One verdict from those of its lines."""
        found = {each.verdict() for each in lines_of(self)}
        if len(found) <= 1:
            return next(iter(found), "cannot tell")
        return "does not hold" if not found & {"holds", "holds in part"} else "holds in part"


@functools.cache
def lines_of(claim: Claim) -> tuple[Evidence, ...]:
    """The evidence of a claim, computed once."""
    return tuple(claim.evidence())


CLAIMS = {  # by block: section of the page, words of the paper, evidence
    "strongest": Claim(
        "Strongest attack",
        "our STRIKE attack generally outperforms all the baseline attacks against various"
        " defenses on all datasets",
        evidence.strongest,
    ),
    "threat": Claim(
        "Delay or damage",
        "this attack strategy can pose a significant threat to model performance",
        evidence.threat,
    ),
    "femnist": Claim(
        "FEMNIST",
        "STRIKE attack improves upon the best baseline by 57.84% against DnC on FEMNIST dataset",
        evidence.femnist,
    ),
    "levels": Claim(
        "Non-IID levels",
        "The accuracy under our STRIKE attack is consistently lower than that of all the baseline"
        " attacks … the accuracy gap … gets smaller when the non-IID level decreases",
        evidence.levels,
    ),
    "nnm": Claim(
        "NNM",
        "STRIKE attack still outperforms other baseline attacks against NNM",
        partial(evidence.mixed, "nnm", "nnm"),
    ),
    "bucketing": Claim(
        "Bucketing",
        "our STRIKE attack works best against Multi-Krum, RFA, and Aksel",
        partial(evidence.mixed, "bucketing", "bucketing(s=2)"),
    ),
    "nu": Claim(
        "Strength nu",
        "In most cases, simply setting ν = 1 can beat almost all the attacks",
        evidence.strength,
    ),
    "hidden": Claim(
        "Hiding among skewed updates",
        "hide Byzantine gradients in the densely distributed skewed gradients",
        evidence.hidden,
    ),
    "skewed": Claim(
        "Gradient skew",
        "a group of densely distributed honest gradients skew away from the optimal gradient",
        evidence.skewed,
    ),
    "kappa": Claim(
        "Robustness constant",
        "Byzantine defenses believe that the most densely distributed n - f gradients are more"
        " likely to be the honest ones",
        list,
    ),
    "accuracies": Claim(
        "Accuracies of Table 1",
        "Accuracy (mean±std) under different attacks against different defenses",
        evidence.accuracies,
    ),
    "restated": Claim(
        "Restated papers",
        "(bucketing, Karimireddy, He, Jaggi 2022; ByzFL 0.0.11) the curves of experiments 2 and 3;"
        " of two cells of the benchmark",
        evidence.restated,
    ),
    "defended": Claim(
        "A defense",
        "we will explore potential defenses against this threat",
        evidence.defended,
    ),
}


def overview() -> list[str]:
    """Every claim with its verdict, its first line and its section."""
    lines = []
    for claim in CLAIMS.values():
        found = lines_of(claim)
        said = f"{found[0].data}: {found[0].counts()}; {found[0].numbers}" if found else "no rows"
        link = f"[{claim.section}](#{claim.section.lower().replace(' ', '-')})"
        lines.append([f"“{claim.words}”", f"**{claim.verdict()}**", said, link])
    shown = "first line of the section: for / against / open; numbers"
    head = ("claim", "verdict", shown, "section")
    return defense.table(head, lines)


def section(claim: Claim) -> list[str]:
    """The evidence of one claim."""
    head = ("data and statement", "verdict", "for / against / open", "numbers")
    return defense.table(head, [each.row() for each in lines_of(claim)])


BLOCKS: dict[str, Callable[[], list[str]]] = {
    "overview": overview,
    **{name: partial(section, claim) for name, claim in CLAIMS.items() if name != "kappa"},
}


def figure() -> Figure:
    """Two statistics of honest updates over heterogeneity beside their null, at round 21."""
    rows = pd.read_csv(HERE / "skew-digits-skew.csv")
    rows = rows[rows["step"] == 21].assign(beta=rows["beta"].fillna(np.inf))
    levels_ = sorted(rows["beta"].unique())
    drawn = Figure(figsize=(7.2, 2.8), layout="constrained")
    panels = drawn.subplots(1, 2)
    names = {"rho": "rho", "mode_share": "share of updates on the median's side"}
    for axes, (metric, title) in zip(panels, names.items(), strict=True):
        part = rows[rows["metric"] == metric]
        for column, color, label in (
            ("value", VERMILION, "honest updates"),
            ("null", GREY, "the same, reflected at random"),
        ):
            found = [summarize(list(part[part["beta"] == beta][column])) for beta in levels_]
            means = [each.mean for each in found]
            bars = [[e.mean - e.low for e in found], [e.high - e.mean for e in found]]
            axes.errorbar(range(len(levels_)), means, yerr=bars, fmt="o", color=color, markersize=4,
                          linewidth=0.9, label=label)  # fmt: skip
        axes.set_xticks(range(len(levels_)), [f"{b:g}" if b < np.inf else "equal" for b in levels_])
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("Dirichlet beta", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", linewidth=0.4, color="#DDDDDD")
    panels[0].legend(fontsize=8, frameon=False)
    return drawn


def main(arguments: Sequence[str]) -> int:
    """Write the page's tables and the figure, or compare the tables."""
    check = "--check" in arguments
    code = claims.rewrite(PAGE, BLOCKS, check)
    if not check:
        drawn = figure()
        FigureCanvasAgg(drawn)
        drawn.savefig(FIGURE, dpi=150, metadata={"Software": None})
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
