"""What a table is before it is printed in any format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One printed entry; ``tone`` is a word that a renderer may turn into a colour."""

    text: str
    bold: bool = False
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table to print: entries for people, and ``records`` (full precision) for programs.

    ``name`` is its file name; a line is drawn after ``rule_after`` rows.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()
    records: tuple[Mapping[str, object], ...] = ()
    rule_after: int = 0
