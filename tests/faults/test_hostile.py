"""S1: names and environments of strangers: nothing outside the store, nothing told on."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_platform.console import show_result
from fl_platform.core.terminal import Terminal
from fl_platform.federated.callbacks.progress import ProgressLine
from fl_platform.grid.results import report_folder
from fl_platform.run.result import Result
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.frames import runs
from fl_platform.tracking.run_folder import runs_root
from tests.faults.runs import PAIRS, QUIET, SMALL, command

NAMES = [
    "../../x", "/etc/passwd", "..", ".", "a/b/c", "C:\\x", "CON", "nul.txt", "~root", "$HOME",
    "a\x00b", "a\nb", "a\rb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\u202egnp.exe",
    "<script>alert(1)</script>", "'; DROP TABLE runs; --", "%2e%2e%2f", "{{7*7}}", "[bold]x[/]",
    "[/]", "[link=file:///etc]x[/link]", "😀" * 80, "x" * 300, " ", "\ufeff", "-rf", "a\u0000",
]  # fmt: skip
RESULT = {
    "run_id": "r", "status": "KILLED", "rounds": 1, "accuracy_last": 1.0, "accuracy_tail": 1.0,
    "accuracy_best": 1.0, "validation_tail": None, "accuracy_per_class": (), "seconds": 1.0,
    "seconds_training": 1.0, "config_hash": "0" * 64, "weights_sha256": "0" * 64,
}  # fmt: skip


def record_named(home: Path, name: str) -> None:
    """Record a run called ``name`` in every way, and look where its files went."""
    before = {p for p in home.parent.rglob("*") if "mlruns" not in p.parts}
    index = f"{abs(hash(name)):016x}".rjust(64, "0")[::-1]
    with ActiveRun.open(
        home, name=name, config_hash=index, experiment=name, conditions={}, tracking="journal"
    ) as record:
        record.start(params={"task": {"name": name}}, tags={"attack_label": name})
        record.log(1, {"test/accuracy": 0.5})
        record.finish("FINISHED", {"seconds": 1.0})
        folder = record.folder.path
    assert {p for p in home.parent.rglob("*") if "mlruns" not in p.parts} == before
    assert folder.resolve().parent == runs_root(home).resolve()
    assert set(folder.name) <= set("0123456789abcdef")
    assert name in set(runs(home, "folders").name)  # kept as it was typed
    reports = report_folder(home, name)
    inside = reports.resolve().relative_to(home.resolve() / "mlruns" / "reports")
    assert len(inside.parts) in (1, 2)  # an experiment may stand in a folder, as papers do
    assert ".." not in reports.parts
    assert len(os.fsencode(reports.name)) < 256


def shown_on_a_terminal(name: str, capsys: pytest.CaptureFixture, monkeypatch) -> str:
    line = ProgressLine(name)
    line._write(f"{line.label} round 1", end="\n")
    monkeypatch.setattr("fl_platform.console.wide_output", lambda: Terminal(width=400))
    show_result(Result.from_json({**RESULT, "name": name, "reason": name}))
    told = capsys.readouterr()
    return told.out + told.err


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_strange_name_stays_text(tmp_path, capsys, monkeypatch, name):
    home = tmp_path / "home"
    home.mkdir()
    record_named(home, name)
    text = shown_on_a_terminal(name, capsys, monkeypatch)
    assert not set(text) & set("\x00\x07\x1b\x9b\r\u202e"), ascii(text)
    plain = "".join(text.split())
    if name.isascii() and name.isprintable() and len(name) < 60:
        assert plain.count("".join(name.split())) >= 3  # markup is shown, never obeyed


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.nightly)])
def test_generated_names_stay_inside(tmp_path, count):
    places = itertools.count()

    @settings(
        max_examples=count, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
    def check(name: str) -> None:
        home = tmp_path / str(next(places)) / "home"
        home.mkdir(parents=True)
        record_named(home, name)

    check()


CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws-4f1",
    "MLFLOW_TRACKING_PASSWORD": "canary-password-77c",
    "MLFLOW_TRACKING_TOKEN": "canary-token-9aa",
    "FL_PLATFORM_SECRET": "canary-own-02e",
    "MLFLOW_TRACKING_URI": "http://canary-user-e1:canary-uri-b3d@127.0.0.1:9/canary",
}
SECRETS = [*list(CANARIES.values())[:4], "canary-user-e1", "canary-uri-b3d"]


def told_secrets(place: Path, *texts: str) -> list[str]:
    files = [p for p in place.rglob("*") if p.is_file() and not p.is_symlink()]
    contents = [p.read_bytes() for p in files] + [text.encode() for text in texts]
    return [secret for secret in SECRETS for content in contents if secret.encode() in content]


def test_no_secret_of_the_environment_is_told(zygote, home, tmp_path):
    """A finished run, a failed one and three refused ones, next to five planted secrets."""
    pair = "ipm/bucketing+median"
    commands = {
        0: [command(pair, "task.name='../\x1b[31m<b>'", home=home, rounds=2)],
        2: [
            command(pair, "task.name=${oc.env:FL_PLATFORM_SECRET}", home=home),
            command(pair, "attack.scale=${oc.env:AWS_SECRET_ACCESS_KEY}", home=home),
            command(pair, "+x=${oc.decode:${oc.env:FL_PLATFORM_SECRET}}", home=home),
        ],
        5: [
            ["run", *PAIRS["mimic/rfa/fedavgm"], *SMALL, *QUIET, "task.local.lr=1e30",
             "task.local.clip=null", "defense=mean", "--home", str(home)],
        ],
    }  # fmt: skip
    for code, lines in commands.items():
        for line in lines:
            words = [w for w in line if not (code == 5 and w == "defense=rfa")]
            child = zygote.start(*words, out=tmp_path, env=dict(CANARIES))
            assert child.finish() == code, child.text
            assert "\x1b[31m" not in child.text
    assert told_secrets(tmp_path) == []
    (tmp_path / "control").write_text(CANARIES["MLFLOW_TRACKING_URI"])
    assert told_secrets(tmp_path) == SECRETS[4:]  # the negative control: it would be found


@pytest.mark.nightly
def test_no_secret_is_told_by_a_server_that_fails(zygote, home, tmp_path):
    line = ["run", *PAIRS["ipm/bucketing+median"], *SMALL, "rounds=2", "--home", str(home)]
    settings = {"env": dict(CANARIES)}
    child = zygote.start(*line, out=tmp_path, **settings)
    assert child.finish(300) == 0, child.text
    assert "runs sync" in child.text
    sync = zygote.start("runs", "sync", "--home", str(home), out=tmp_path, **settings)
    assert sync.finish(300) in (1, 4), sync.text
    assert told_secrets(tmp_path) == []
    assert not os.environ.get("MLFLOW_TRACKING_URI")
