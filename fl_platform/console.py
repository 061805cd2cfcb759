"""What verbs print: results, lists of rules."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fl_platform.config import ConfigError
from fl_platform.config.errors import nearest
from fl_platform.config.rules import parameters
from fl_platform.config.targets import load_rule
from fl_platform.core.outside import OutsideError, read_file, read_yaml
from fl_platform.core.terminal import wide_output
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


def show_result(result: Result, tracking: str = "mlflow", folder: Path | None = None) -> None:
    """A short table of one run's outcome and the command that shows it.

    Args:
        tracking: ``runtime.tracking``: says where the run is to be seen.
        folder: the run's folder.
    """
    out = wide_output()
    table = Table(title=printable(result.name), title_justify="left", show_header=False, box=None)
    accuracy = f"{_percent(result.accuracy_last)} last, {_percent(result.accuracy_tail)} tail"
    table.add_row("status", printable(f"{result.status} {result.reason}".strip()))
    table.add_row("accuracy", f"{accuracy} ({_percent(result.accuracy_best)} best on the test set)")
    if result.test_at_best_validation is not None:
        table.add_row("", f"{_percent(result.test_at_best_validation)} test at best validation")
    table.add_row("rounds", f"{result.rounds} in {result.seconds:.1f} s")
    if result.alarms:
        told = f"{result.alarms} values came out otherwise when rounds were run again: --restart"
        table.add_row("ALARM", told, style="bold red")
    table.add_row("weights", result.weights_sha256[:16])
    table.add_row("run", f"{result.run_id} (tag fl_run_id in MLflow)")
    if folder is not None:
        table.add_row("folder", Text(printable(str(folder)), no_wrap=True, overflow="ignore"))
    out.print(table)
    seen = {
        "mlflow": "see it: fl-platform ui",
        "journal": "in its run folder alone; to see it: fl-platform runs sync, then fl-platform ui",
    }
    where = seen.get(tracking, f"copied to {tracking}")
    killed = result.status == "KILLED"
    out.print("the same command continues it" if killed else where, style="dim")


def show_rules(folders: Sequence[Path], group: str) -> None:
    """Each choice of a group, or of all groups: a sentence, its parameters, its reference.

    Args:
        folders: of configuration files; what two of them have is the first one's.
        group: ``all``, or a name in `GROUPS`, plural or singular.
    """
    titles = {singular: title for title, singular in GROUPS.items()}
    group = titles.get(group, group)
    if group != "all" and group not in GROUPS:
        known = ", ".join(GROUPS)
        close = nearest(group, GROUPS)
        raise ConfigError(f"list: expected all or one of {known}, got {group!r}{close}")
    out = wide_output()
    for title, folder in GROUPS.items():
        if group in ("all", title):
            table = Table(title=title, title_justify="left", show_header=False, box=None)
            found = [path for each in folders[::-1] for path in (each / folder).glob("*.yaml")]
            files = {path.stem: path for path in found}
            for name in sorted(files):
                table.add_row(name, _told(files[name]))
            out.print(table)


def _told(path: Path) -> Text:
    text, settings, source = _described(path)
    lines = [Text(text)]
    lines += [Text(settings)] if settings else []
    lines += [Text(source, style="dim")] if source else []
    return Text("\n").join(lines)


def _described(path: Path) -> tuple[str, str, str]:
    """What a yaml node calls: its docstring's first sentence, parameters, and source.

    A file that cannot be read, or names what a run may not call, is listed with the reason.
    """
    try:
        return _explained(path)
    except (ConfigError, OutsideError) as error:
        return f"not usable: {error}", "", ""
    except OSError as error:
        return f"not usable: {error.strerror}", "", ""


def _explained(path: Path) -> tuple[str, str, str]:
    text = read_file(path, "yaml", follow=True).decode("utf-8", "replace")
    text = text.removeprefix("# @package _global_\n")
    target = re.search(r"^_target_: (\S+)", text, re.MULTILINE)
    if target is None:  # no rule of its own: its comment says what it is, below the command
        beside = re.match(r"# fl-platform[^\n(]*\((.+)\)\n", text)
        below = re.match(r"# fl-platform.*\n((?:# .*\n)+)", text)
        found = beside or below
        return " ".join(found[1].replace("# ", "").split()) if found else "", "", ""
    rule = load_rule({"_target_": target[1]}, None, "list")  # nothing else is imported
    summary, _, rest = (inspect.getdoc(rule) or "").partition("\n\n")
    source = re.search(r"(?:Source|References?):\s*(.+?\b(?:19|20)\d\d\b\)?)", rest, re.DOTALL)
    return _plain(summary), _settings(rule, read_yaml(path)), _plain(source[1]) if source else ""


def _settings(rule: Any, node: Any) -> str:
    """``nu=1.0, start=inner``: the parameters with what the yaml sets, else their defaults."""
    written = node if isinstance(node, Mapping) else {}
    values = {name: written.get(name, each.default) for name, each in parameters(rule).items()}
    words = {None: "null", True: "true", False: "false"}
    told = []
    for name, value in values.items():
        exact = value is None or isinstance(value, bool)
        shown = "required" if value is inspect.Parameter.empty else words[value] if exact else value
        told.append(f"{name}={shown}")
    return ", ".join(told)


def _plain(text: str) -> str:
    """A docstring's text in one line, without the marks of Sphinx."""
    return " ".join(re.sub(r":\w+:`~?([^`]*)`|`+([^`]*)`+", r"\1\2", text).split())


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
