"""Systemd units or a crontab line that run a suite on its schedule."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from fl_platform.config import ConfigError
from fl_platform.repro.spec import Suite, Weekday, load_suite

MARK = "# fl-platform repro"


def install(
    name: str, home: Path, environment: Mapping[str, str], *, cron: bool, write: bool
) -> str:
    """Print or install the systemd units or crontab line that run a suite on schedule.

    Raises:
        ConfigError: The suite does not exist, or root calls it with ``write``.
    """
    suite = load_suite(name, home)
    if cron:
        line = cron_line(suite, home)
        if not write:
            return f"{line}\n# not installed; --write adds this line to your crontab"
        write_cron(suite, line)
        return f"{line}\n# added to your crontab; show it: crontab -l"
    units = systemd(suite, home)
    text = "\n".join(f"# {file}\n{content}" for file, content in units.items())
    start = f"systemctl --user daemon-reload && systemctl --user enable --now {list(units)[-1]}"
    if not write:
        folder = unit_folder(environment)
        return f"{text}\n# not installed; --write writes these files to {folder}"
    paths = write_systemd(units, environment)
    written = "\n".join(f"# written: {path}" for path in paths)
    return f"{text}\n{written}\n# start it: {start}"


def command(suite: Suite, home: Path) -> list[str]:
    """Command with absolute paths: a timer has another working folder and another PATH."""
    verb = ["-P", "-m", "fl_platform.cli", "repro", "run", suite.name]
    return [sys.executable, *verb, "--home", str(home.absolute())]


def systemd(suite: Suite, home: Path) -> dict[str, str]:
    """Systemd service and timer of a user: file name -> text.

    ``Persistent`` runs a missed start once, after the next boot. The suite's lock refuses a second
    start beside a running one, and finished runs are not repeated.
    """
    name = f"fl-platform-repro-{suite.name}"
    weekly = suite.schedule.every == "week"
    days = f"{suite.schedule.day[:3].capitalize()} " if weekly else ""
    service = f"""[Unit]
Description=fl_platform: reproduction {suite.name} ({_when(suite)})

[Service]
Type=oneshot
WorkingDirectory={_systemd(str(home.absolute()), bare=True)}
ExecStart={" ".join(map(_systemd, command(suite, home)))}
TimeoutStartSec=infinity
Nice=10
"""
    timer = f"""[Unit]
Description=fl_platform: timer of the reproduction {suite.name}

[Timer]
OnCalendar={days}*-*-* {suite.schedule.at}:00 UTC
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def cron_line(suite: Suite, home: Path) -> str:
    """Crontab line of a user; cron reads the time of day in the time zone of the machine."""
    log = home.absolute() / "mlruns" / "repro" / suite.name / "cron.log"
    words = shlex.join(command(suite, home))
    place, log_word = shlex.quote(str(home.absolute())), shlex.quote(str(log))
    line = f"cd {place} && mkdir -p {shlex.quote(str(log.parent))} && {words} >> {log_word} 2>&1"
    hour, minute = map(int, suite.schedule.at.split(":"))
    weekly = suite.schedule.every == "week"
    day = str((get_args(Weekday).index(suite.schedule.day) + 1) % 7) if weekly else "*"
    escaped = _one_line(line).replace("%", "\\%")
    return f"{minute} {hour} * * {day} {escaped}  {MARK} {suite.name}"


def write_systemd(units: Mapping[str, str], environment: Mapping[str, str]) -> list[Path]:
    """Write the units into the systemd folder of the user; starts nothing.

    Raises:
        ConfigError: The caller is root.
    """
    _refuse_root()
    folder = unit_folder(environment)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in units.items():
        (folder / name).write_text(text, encoding="utf-8")
        paths.append(folder / name)
    return paths


def unit_folder(environment: Mapping[str, str]) -> Path:
    """Folder of the systemd units of this user."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user"


def write_cron(suite: Suite, line: str) -> None:
    """Add ``line`` to the crontab of this user; replaces an earlier line of the same suite.

    Raises:
        ConfigError: The caller is root, or the command ``crontab`` is missing.
    """
    _refuse_root()
    if shutil.which("crontab") is None:
        raise ConfigError(
            "repro install: expected the command crontab, found none. Install cron or use"
            " --systemd."
        )
    listed = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    before = listed.stdout.splitlines() if listed.returncode == 0 else []
    lines = [each for each in before if not each.endswith(f"{MARK} {suite.name}")]
    text = "\n".join([*lines, line, ""])
    subprocess.run(["crontab", "-"], input=text, text=True, check=True)


def _refuse_root() -> None:
    if os.geteuid() == 0:
        raise ConfigError(
            "repro install --write: expected an ordinary user, got root. Log in as the user who"
            " owns the runs."
        )


def _when(suite: Suite) -> str:
    days = f"every {suite.schedule.day}" if suite.schedule.every == "week" else "every day"
    return f"{days} at {suite.schedule.at} UTC"


def _systemd(word: str, *, bare: bool = False) -> str:
    """Escaped word of a unit file: ``%`` and ``$`` are special, quotes follow C."""
    plain = _one_line(word).replace("%", "%%")
    if bare:  # a path up to the end of the line: systemd reads no quotes or variables
        return plain
    plain = plain.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"' if plain != word or " " in plain or "'" in plain else plain


def _one_line(text: str) -> str:
    if any(not letter.isprintable() for letter in text):
        raise ConfigError(f"repro install: expected a printable path, got {text!r}.")
    return text
