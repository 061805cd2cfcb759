"""What verbs print: results, lists of rules."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fl_platform.config import ConfigError
from fl_platform.core.text import printable
from fl_platform.run.result import Result

GROUPS = {
    "attacks": "attack",
    "defenses": "defense",
    "mixings": "mixing",
    "tasks": "task",
    "models": "model",
    "partitions": "partition",
    "presets": "preset",
    "experiments": "experiment",
    "suites": "suite",
}


def standard_output() -> Console:
    """Standard output; as wide as a table needs where it is a file or a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def show_result(result: Result, tracking: str = "mlflow") -> None:
    """A short table of one run's outcome and the command that shows it.

    Args:
        tracking: ``runtime.tracking``: says where the run is to be seen.
    """
    out = standard_output()
    title = escape(printable(result.name))
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    accuracy = f"{_percent(result.accuracy_last)} last, {_percent(result.accuracy_tail)} tail"
    table.add_row("status", escape(printable(f"{result.status} {result.reason}".strip())))
    table.add_row("accuracy", f"{accuracy} ({_percent(result.accuracy_best)} best on the test set)")
    table.add_row("rounds", f"{result.rounds} in {result.seconds:.1f} s")
    if result.alarms:
        told = f"{result.alarms} values came out otherwise when rounds were run again: --restart"
        table.add_row("ALARM", told, style="bold red")
    table.add_row("weights", result.weights_sha256[:16])
    table.add_row("run", result.run_id)
    out.print(table)
    seen = {
        "mlflow": "see it: fl-platform ui",
        "journal": "in its run folder alone; to see it: fl-platform runs sync, then fl-platform ui",
    }
    where = seen.get(tracking, f"copied to {tracking}")
    killed = result.status == "KILLED"
    out.print("the same command continues it" if killed else where, style="dim", markup=False)


def show_rules(conf: Path, group: str) -> None:
    """One line and one reference for each choice of a group, or of all groups."""
    if group != "all" and group not in GROUPS:
        raise ConfigError(f"list: expected all or one of {', '.join(GROUPS)}, got {group!r}.")
    out = standard_output()
    for title, folder in GROUPS.items():
        if group in ("all", title):
            table = Table(title=title, title_justify="left", show_header=False, box=None)
            for path in sorted((conf / folder).glob("*.yaml")):
                text, source = _described(path)
                table.add_row(path.stem, f"{text}\n[dim]{escape(source)}[/]" if source else text)
            out.print(table)


def _described(path: Path) -> tuple[str, str]:
    """What a yaml node calls, in its docstring's first sentence, and the source it names."""
    text = path.read_text(encoding="utf-8").removeprefix("# @package _global_\n")
    target = re.search(r"^_target_: (\S+)", text, re.MULTILINE)
    if target is None:  # no rule of its own: its comment says what it is, below the command
        beside = re.match(r"# fl-platform[^\n(]*\((.+)\)\n", text)
        below = re.match(r"# fl-platform.*\n((?:# .*\n)+)", text)
        found = beside or below
        return " ".join(found[1].replace("# ", "").split()) if found else "", ""
    package, _, name = target[1].rpartition(".")
    documentation = inspect.getdoc(getattr(importlib.import_module(package), name)) or ""
    summary, _, rest = documentation.partition("\n\n")
    source = re.search(r"(?:Source|References?):\s*(.+?\b(?:19|20)\d\d\b\)?)", rest, re.DOTALL)
    return " ".join(summary.split()), " ".join(source[1].split()) if source else ""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
