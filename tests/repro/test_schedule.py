"""Systemd units and crontab lines: printed, and written only on request."""

import configparser
import dataclasses
import os
import shlex
import subprocess
import sys

import pytest

from fl_platform.config import ConfigError
from fl_platform.repro import schedule as units
from fl_platform.repro.schedule import cron_line, install, systemd
from fl_platform.repro.spec import SuiteSchedule, load_suite


@pytest.fixture
def user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_units_are_what_systemd_reads(home):
    service, timer = systemd(load_suite("tiny", home), home).values()
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(service)
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[0] == sys.executable
    assert words[1:] == [
        *("-P", "-m", "fl_platform.cli", "repro", "run", "tiny"),
        *("--home", str(home)),
    ]
    assert unit["Service"]["Type"] == "oneshot"
    unit.read_string(timer)
    assert unit["Timer"] == {"OnCalendar": "*-*-* 01:00:00 UTC", "Persistent": "true"}
    assert unit["Install"]["WantedBy"] == "timers.target"


def test_a_path_with_signs_that_systemd_or_cron_read_themselves_stays_that_path(tmp_path):
    from tests.repro.conftest import furnish

    odd = tmp_path / '50 % of $HOME\'s "runs"'
    odd.mkdir()
    suite = load_suite("tiny", furnish(odd))
    service = systemd(suite, odd)["fl-platform-repro-tiny.service"]
    told = service.partition("--home ")[2].splitlines()[0]
    assert told.startswith('"')
    plain = told[1:-1].replace("%%", "%").replace("$$", "$")
    assert plain.replace('\\"', '"') == str(odd)
    line = cron_line(suite, odd)
    command = line.split(" ", 5)[5].replace("\\%", "%")  # as cron hands it to the shell
    assert line.count("%") == line.count("\\%")
    shown = subprocess.run(
        ["sh", "-c", command.replace(sys.executable, "echo", 1)], capture_output=True, check=True
    )
    assert not shown.stdout + shown.stderr
    log = (odd / "mlruns" / "repro" / "tiny" / "cron.log").read_text()
    assert log == f"-P -m fl_platform.cli repro run tiny --home {odd}\n"


def test_a_weekly_suite_names_its_day(home):
    suite = load_suite("tiny", home)
    schedule = SuiteSchedule(every="week", day="sunday", at="02:30")
    weekly = dataclasses.replace(suite, schedule=schedule)
    timer = systemd(weekly, home)["fl-platform-repro-tiny.timer"]
    assert "OnCalendar=Sun *-*-* 02:30:00 UTC" in timer
    assert cron_line(weekly, home).startswith("30 2 * * 0 ")
    saturday = dataclasses.replace(
        weekly, schedule=SuiteSchedule(every="week", day="saturday", at="02:30")
    )
    assert cron_line(saturday, home).startswith("30 2 * * 6 ")
    assert cron_line(suite, home).startswith("0 1 * * * ")


def test_a_line_break_in_a_path_is_refused(home, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/python\nExecStart=/bin/evil")
    with pytest.raises(ConfigError, match="printable path"):
        systemd(load_suite("tiny", home), home)
    with pytest.raises(ConfigError, match="printable path"):
        cron_line(load_suite("tiny", home), home)


@pytest.mark.parametrize("kind", ["--systemd", "--cron"])
def test_printing_installs_nothing(call, home, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(subprocess, "run", None)
    code, out, _ = call("repro", "install", "tiny", kind)
    assert code == 0
    assert "not installed; --write" in out
    assert not (tmp_path / "config").exists()


def test_units_are_written_for_this_user_and_said_where(call, tmp_path, monkeypatch, user):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    code, out, _ = call("repro", "install", "tiny", "--systemd", "--write")
    folder = tmp_path / "config" / "systemd" / "user"
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "fl-platform-repro-tiny.service",
        "fl-platform-repro-tiny.timer",
    ]
    assert f"# written: {folder / 'fl-platform-repro-tiny.timer'}" in out
    assert "systemctl --user enable --now fl-platform-repro-tiny.timer" in out


def test_a_crontab_keeps_its_other_lines_and_one_of_each_suite(home, tmp_path, monkeypatch, user):
    table = tmp_path / "table"
    table.write_text("5 4 * * * backup  # fl-platform repro tiny2\n")
    fake = tmp_path / "bin" / "crontab"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {table}; else cat > {table}; fi\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    for _ in range(2):
        install("tiny", home, os.environ, cron=True, write=True)
    lines = table.read_text().splitlines()
    assert lines[0] == "5 4 * * * backup  # fl-platform repro tiny2"
    assert lines[1:] == [cron_line(load_suite("tiny", home), home)]


@pytest.mark.parametrize("cron", [True, False])
def test_root_is_refused(home, tmp_path, monkeypatch, cron):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="got root"):
        install("tiny", home, {"XDG_CONFIG_HOME": str(tmp_path)}, cron=cron, write=True)


def test_a_machine_without_cron_is_told(home, monkeypatch, user):
    monkeypatch.setattr(units.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="found none"):
        install("tiny", home, os.environ, cron=True, write=True)


def test_one_kind_has_to_be_chosen(call):
    assert call("repro", "install", "tiny")[0] == 2
    assert call("repro", "install", "tiny", "--cron", "--systemd")[0] == 2
