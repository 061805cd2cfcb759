"""``fl-platform conformance``: our rules on the golden vectors, then beside other libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fl_platform.adapters.conformance.golden import VECTORS, difference, read_vectors
from fl_platform.adapters.conformance.page import WORDS, tables, write_page
from fl_platform.adapters.conformance.peers import LIBRARIES, version
from fl_platform.adapters.conformance.verdicts import Outcome, compared, ours


@dataclass
class Report:
    """What the command found.

    Attributes:
        vectors: number of golden vectors compared.
        rules: number of rules that they belong to.
        wrong: one line per vector that our rule misses.
        outcomes: each implementation of an installed library.
        missing: libraries that are not installed.
        text: the tables as Markdown.
    """

    vectors: int = 0
    rules: int = 0
    wrong: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    text: str = ""


def conformance(
    rule: str | None = None,
    *,
    write: Path | None = None,
    say: Callable[[str], None] = print,
    vectors: Path = VECTORS,
) -> Report:
    """Compare our rules with the golden vectors and with every library that is installed.

    Args:
        rule: one of ours. Default: all.
        write: page between whose marks the tables are written; for all rules only.
        say: is given each line.
        vectors: folder of the golden vectors.

    Raises:
        ValueError: a rule that has neither vectors nor a counterpart, or a page for one rule.
    """
    if rule is not None and write is not None:
        raise ValueError(f"Expected no rule where a page is written, got {rule!r}.")
    report = _on_vectors(rule, vectors)
    checked = (
        f"{report.vectors - len(report.wrong)} of {report.vectors} golden vectors agree"
        f" (rules: {report.rules})."
    )
    say(checked)
    for line in report.wrong:
        say(f"  wrong: {line}")
    found = []
    for library in LIBRARIES:
        release = version(library)
        peers = library.peers() if library.peers is not None and release is not None else []
        outcomes = [compared(peer) for peer in peers if rule in (None, peer.rule)]
        found.append((library, release, outcomes))
        report.outcomes += outcomes
        if release is None:
            report.missing.append(library.package)
            say(f"{library.package}: not compared, {library.remark or 'not installed'}")
        for each in outcomes:
            say(f"{library.package} {release} {each.peer.name}: {WORDS[each.verdict]}")
    if rule is not None and not report.vectors and not report.outcomes and not report.missing:
        raise ValueError(
            f"Expected the name of a rule with vectors or a counterpart, got {rule!r}."
        )
    report.text = tables(found, checked)
    if write is not None:
        write_page(write, report.text)
    return report


def _on_vectors(rule: str | None, folder: Path) -> Report:
    report = Report()
    for path in sorted(folder.glob(f"{rule or '*'}.json")):
        report.rules += 1
        for case in read_vectors(path):
            report.vectors += 1
            rows = np.array(case["rows"], dtype=np.float64)
            off = difference(ours(case["rule"], case["settings"], rows, case["f"]), case["result"])
            if off > case["tolerance"]:
                place = f"{case['rule']} {case['settings']} on {case['input']}"
                report.wrong.append(f"{place}: off by {off:.2g}")
    return report
