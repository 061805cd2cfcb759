"""The tables of ``docs/conformance.md``, and the lines that the command prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fl_platform.adapters.conformance.explained import WHY
from fl_platform.adapters.conformance.inputs import FAMILIES
from fl_platform.adapters.conformance.peers import Library
from fl_platform.adapters.conformance.verdicts import TOLERANCE, Outcome

START, END = "<!-- conformance:start -->", "<!-- conformance:end -->"
WORDS = {
    "equal": "equal",
    "variant": "named variant",
    "ties": "equal but for ties",
    "different": "different",
    "refuses": "refuses",
}


def tables(found: Sequence[tuple[Library, str | None, Sequence[Outcome]]], checked: str) -> str:
    """Markdown: one table per installed library, the missing ones by name."""
    parts = [checked]
    for library, version, outcomes in found:
        if version is None:
            continue
        parts.append(f"### {library.package} {version} ({library.licence})")
        parts.append(_counted(outcomes))
        head = ["theirs", "ours", "verdict", *FAMILIES]
        lines = [_row(head), _row(["---"] * len(head)), *map(_line, outcomes)]
        parts.append("\n".join(lines))
        parts.append("\n".join(note for each in outcomes for note in _notes(each)))
    absent = [library for library, version, _ in found if version is None]
    if absent:
        named = [f"- {each.package}: {each.remark or 'not installed'}." for each in absent]
        parts.append("\n".join(["Not compared:", "", *named]))
    return "\n\n".join(part for part in parts if part)


def _counted(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(each.verdict for each in outcomes)
    told = [f"{counts[verdict]} {word}" for verdict, word in WORDS.items() if counts[verdict]]
    return f"{len(outcomes)} implementations: {', '.join(told)}."


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(outcome: Outcome) -> str:
    peer = outcome.peer
    settings = ", ".join(f"{name}={value}" for name, value in peer.settings.items())
    own = f"`{peer.rule}({settings})`" if settings else f"`{peer.rule}`"
    return _row([peer.name, own, WORDS[outcome.verdict], *map(_size, outcome.worst.values())])


def _size(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if value <= TOLERANCE else f"{value:.2g}"


def _notes(outcome: Outcome) -> list[str]:
    peer, notes = outcome.peer, []
    if outcome.verdict in ("ties", "different"):
        notes.append(WHY.get((peer.package, peer.name), "Not explained yet."))
    if outcome.itself > TOLERANCE:
        notes.append(f"Two calls of theirs with one input differ by {outcome.itself:.2g}.")
    if outcome.refused:
        notes.append(f"Refused: {outcome.refused.rstrip('.')}.")
    if outcome.least is not None:
        rows = outcome.least.rows.tolist()
        least = [row[0] for row in rows] if outcome.least.rows.shape[1] == 1 else rows
        notes.append(f"Smallest input: rows {least}, f = {outcome.least.f}.".replace(".0", ""))
    return [f"- {peer.name}: {' '.join(notes)}"] if notes else []


def write_page(page: Path, text: str) -> None:
    """Replace what stands between the two marks of the page.

    Raises:
        ValueError: the page has no such marks.
    """
    old = page.read_text(encoding="utf-8")
    if START not in old or END not in old:
        raise ValueError(f"Expected the marks {START} and {END} in {page}.")
    before, after = old.split(START)[0], old.split(END)[1]
    page.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")
