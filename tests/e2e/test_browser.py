"""MLflow's page as people use it: a small grid, our command, a browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import INSTALL, WAIT, executable, shoot, tab

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).resolve().parents[2]
ATTACKS = {"strike": "strike(nu=1)", "lie": "lie(z=1.5)"}
DEFENSES = ("multi_krum", "median")
_AXES = """() => Object.fromEntries(
  [...document.querySelectorAll('.js-plotly-plot')]
    .filter(it => it.data && it.data[0].dimensions)
    .flatMap(it => it.data[0].dimensions.map(d => [d.label, d.ticktext || d.values])))"""
NAMES = [f"digits {attack} vs {defense} s0" for attack in ATTACKS.values() for defense in DEFENSES]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store holds two attacks against two defenses."""
    from fl_platform.config import compose
    from fl_platform.run.runner import run
    from fl_platform.tracking.mlflow.sync import sync

    place = tmp_path_factory.mktemp("home")
    (place / "conf").symlink_to(REPOSITORY / "conf")
    quiet = ["task=digits", "rounds=12", "runtime.tracking=journal", "runtime.progress=none"]
    for attack in ATTACKS:
        for defense in DEFENSES:
            asked = compose([f"attack={attack}", f"defense={defense}", *quiet], place)
            assert run(asked, place).status == "FINISHED"
    assert sync(place).complete
    return place


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(home: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fl_platform.cli", "ui", "--home", str(home)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        [*command, "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(server: subprocess.Popen[str], number: int) -> tuple[int, str]:
    server.send_signal(number)
    _, errors = server.communicate(timeout=60)
    return server.returncode, errors


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """What `fl-platform ui` prints when its page can be opened."""
    server = _start(home, _free_port())
    assert server.stdout is not None
    yield next(line.strip() for line in server.stdout if line.startswith("http"))
    _end(server, signal.SIGTERM)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: SHOTS (the docs' folder, to renew them), else out of the way."""
    named = os.environ.get("SHOTS")
    folder = REPOSITORY / named if named else tmp_path_factory.mktemp("shots")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    if executable() is None:
        pytest.fail(f"Expected Chromium, got none; install it: {INSTALL}", pytrace=False)
    with tab(tmp_path / "profile") as opened:
        yield opened
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def _kept(path: Path) -> None:
    assert 10_000 < path.stat().st_size < 300_000


def test_the_printed_address_opens_on_our_runs_and_curves(
    page: Any, address: str, shots: Path
) -> None:
    page.goto(address)
    for name in NAMES:
        page.get_by_role("link", name=name).wait_for()
    page.get_by_text("test", exact=True).first.wait_for()
    text = page.inner_text("body")
    assert "4 matching runs" in text
    assert "Error loading shared view" not in text
    legend = f"{NAMES[0]} (test/accuracy)"
    assert legend in page.evaluate("document.body.textContent")
    _kept(shoot(page, shots, "runs"))


def test_the_table_has_our_columns_and_groups_by_attack(
    page: Any, address: str, shots: Path
) -> None:
    page.goto(address)
    page.get_by_role("link", name=NAMES[0]).wait_for()
    page.goto(address.replace("compareRunsMode=CHART&", ""))
    page.get_by_text("attack_label").first.wait_for()
    page.get_by_role("button", name="Group by").click()
    page.get_by_text("attack_label", exact=True).last.click()
    page.keyboard.press("Escape")
    for label in ATTACKS.values():
        page.get_by_text(f"attack_label: {label}").or_(page.get_by_text(label)).first.wait_for()
    _kept(shoot(page, shots, "grouped"))


def test_runs_of_two_attacks_are_compared_without_false_values(
    page: Any, address: str, shots: Path
) -> None:
    page.goto(address)
    page.get_by_role("link", name=NAMES[0]).wait_for()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Parallel Coordinates").wait_for()
    page.get_by_text("Show diff only").first.wait_for()
    text = page.inner_text("body")
    for name in NAMES:
        assert name in text
    assert "test/accuracy" in text
    # MLflow would draw the strike runs, which have no ddof, at a number above the largest
    axes = page.evaluate(_AXES)
    assert sorted(axes["attack"]) == ["lie", "strike"]
    assert sorted(axes["attack.ddof"]) == ["-", "0"]
    _kept(shoot(page, shots, "compare"))


def test_a_run_shows_where_it_comes_from_and_its_files(
    page: Any, address: str, shots: Path
) -> None:
    page.goto(address)
    page.get_by_role("link", name=NAMES[0]).click()
    page.get_by_text("Run folder:").wait_for()
    assert "mlruns/runs/" in page.inner_text("body")
    _kept(shoot(page, shots, "run"))
    page.get_by_role("tab", name="Artifacts").click()
    for name in ("config.yaml", "weights.pt", "partition.png"):
        page.get_by_text(name).wait_for()
    page.get_by_text("accuracy.png").click()
    page.wait_for_function("[...document.images].some(it => it.naturalWidth > 300)", timeout=WAIT)
    place = page.get_by_text("Path: file:")
    place.wait_for()
    place.evaluate("it => it.style.visibility = 'hidden'")  # a folder of this test, gone with it
    _kept(shoot(page, shots, "artifacts"))


def test_only_this_machines_name_is_answered(address: str) -> None:
    base = address.partition("#")[0]
    with urllib.request.urlopen(f"{base}health", timeout=30) as reply:
        assert reply.status == 200
    foreign = urllib.request.Request(f"{base}api/2.0/mlflow/experiments/search?max_results=1")
    foreign.add_header("Host", "evil.example")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(foreign, timeout=30)
    assert refusal.value.code == 403


def test_a_busy_port_is_told_in_one_line(home: Path, address: str) -> None:
    port = int(address.partition("/#")[0].rpartition(":")[2])
    second = _start(home, port)
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 4
    (line,) = errors.strip().splitlines()
    assert f"port {port} to be free" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nobody_serves_after_the_end(home: Path, number: int) -> None:
    port = _free_port()
    server = _start(home, port)
    assert server.stdout is not None
    assert any(line.startswith("http") for line in server.stdout)
    code, errors = _end(server, number)
    assert code == 0
    assert "Traceback" not in errors
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    ours = f"--port {port}"
    listed = Path("/proc").glob("[0-9]*/cmdline")
    assert not [p for p in listed if ours in _told(p)]


def _told(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
