"""MLflow's page as people meet it: `make demo`, `fl-platform ui`, a browser's first visit."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import INSTALL, WAIT, executable, shoot, tab

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).resolve().parents[2]
SIDES = [
    f"{name}side={side})" for name in ("lie(z=1.5, ", "min_max(") for side in ("above", "below")
]
ATTACKS = ("none", "bit_flip", "ipm(scale=0.1)", "mimic", "strike(nu=1)", *SIDES)
BRIEF = {f"{name} {side}" for name in ("lie 1.5", "min_max") for side in ("above", "below")}
BRIEF |= {"none", "bit_flip", "ipm 0.1", "mimic", "strike 1"}
DEFENSES = ("mean", "multi_krum", "median", "dnc", "trimmed_mean")
NAMES = [f"{attack} vs {defense}, digits s0" for attack in ATTACKS for defense in DEFENSES]
MODEL = "digits network"
_LINES = """() => [...document.querySelectorAll('.js-plotly-plot')]
    .filter(it => it.querySelector('path.js-line')).slice(0, 1)
    .map(it => [it.data.map(d => d.name), [...it.querySelectorAll('path.js-line')]
        .map(line => getComputedStyle(line).stroke)])"""
_AXES = """() => [...document.querySelectorAll('.js-plotly-plot')]
    .filter(it => it.data && it.data[0].dimensions)
    .flatMap(it => it.data[0].dimensions.map(d => [d.label, d.ticktext || []]))"""
_CELLS = """name => [...document.querySelectorAll(`.ag-center-cols-container [col-id="${name}"]`)]
    .map(it => it.innerText)"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after what `make demo` runs."""
    place = tmp_path_factory.mktemp("home")
    (place / "conf").symlink_to(REPOSITORY / "conf")
    command = [sys.executable, "-m", "fl_platform.cli", "grid", "quick", "--home", str(place)]
    subprocess.run(command, env=_environment(), check=True, stdout=subprocess.DEVNULL)
    return place


def _environment() -> dict[str, str]:
    told = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    told.pop("MLFLOW_TRACKING_URI", None)
    return told


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(home: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fl_platform.cli", "ui", "--home", str(home)]
    return subprocess.Popen(
        [*command, "--port", str(port)],
        env=_environment(),
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
def model_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The printed address of a workspace with one run, whose network is registered."""
    place = tmp_path_factory.mktemp("model")
    (place / "conf").symlink_to(REPOSITORY / "conf")
    asked = ["attack=strike", "defense=multi_krum", "rounds=30", "task.validation=0.2"]
    command = [sys.executable, "-m", "fl_platform.cli", "run", "--home", str(place), *asked]
    register = f"runtime.register={MODEL}"
    subprocess.run([*command, register], env=_environment(), check=True, capture_output=True)
    sync = [sys.executable, "-m", "fl_platform.cli", "runs", "sync", "--home", str(place)]
    subprocess.run(sync, env=_environment(), check=True, capture_output=True)
    server = _start(place, _free_port())
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


def _port(address: str) -> int:
    return urllib.parse.urlsplit(address).port or 0


def _kept(path: Path) -> None:
    assert 10_000 < path.stat().st_size < 200_000


def _opened(page: Any, address: str) -> str:
    """The text of the page at ``address`` when its runs are there."""
    page.goto(address)
    page.get_by_text("matching runs").wait_for()
    page.get_by_role("link", name=min(NAMES)).wait_for()
    return str(page.inner_text("body"))


def test_a_first_visit_shows_all_runs_and_their_curves(
    page: Any, address: str, shots: Path
) -> None:
    text = _opened(page, address)
    page.wait_for_function(f"({_LINES})().length > 0", timeout=WAIT)
    assert "45 matching runs" in text
    assert "Error loading shared view" not in text
    assert "No charts in this section" not in text
    assert "grid quick" not in text  # the parent, which would fold its runs away
    assert "Assistant" not in text
    shown = page.locator('[data-testid="experiment-view-table-run-color"]')
    assert shown.count() >= 15  # as many as the window is high
    ((named, strokes),) = page.evaluate(_LINES)
    assert set(named) == set(NAMES)
    assert len(strokes) >= len(NAMES)
    assert len(set(strokes)) > len(NAMES) / 3  # MLflow picks some colours twice
    for axis in ("Attack rule", "Defense rule"):
        page.get_by_text(axis, exact=True).first.wait_for()
    _kept(shoot(page, shots, "runs"))


def test_the_table_has_attack_defense_and_accuracy_of_every_run(
    page: Any, address: str, shots: Path
) -> None:
    _opened(page, address)
    page.locator('input[name="runs-view-mode"][value="TABLE"]').locator("..").click(force=True)
    page.get_by_text("Show more columns").or_(page.get_by_text("Defense rule")).first.wait_for()
    page.wait_for_function(
        f"({_CELLS})('metrics.`result/accuracy_tail`').length > 10", timeout=WAIT
    )
    attacks = page.evaluate(_CELLS, "params.`Attack rule`")
    defenses = page.evaluate(_CELLS, "params.`Defense rule`")
    accuracies = page.evaluate(_CELLS, "metrics.`result/accuracy_tail`")
    assert set(attacks) <= BRIEF
    assert set(defenses) == set(DEFENSES)
    assert all(0 < float(accuracy) <= 100 for accuracy in accuracies)
    _kept(shoot(page, shots, "table"))


def test_runs_are_grouped_by_attack(page: Any, address: str, shots: Path) -> None:
    _opened(page, address.replace("compareRunsMode=CHART&", ""))
    page.get_by_role("button", name="Group by").click()
    page.get_by_text("attack_label", exact=True).last.click()
    page.keyboard.press("Escape")
    for label in ATTACKS:
        page.get_by_text(f"attack_label: {label}").or_(page.get_by_text(label)).first.wait_for()
    _kept(shoot(page, shots, "grouped"))


def test_all_runs_are_compared_without_unknown_values(page: Any, address: str, shots: Path) -> None:
    _opened(page, address)
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Parallel Coordinates").wait_for()
    page.get_by_text("Show diff only").first.wait_for()
    page.wait_for_function(f"({_AXES})().length > 0", timeout=WAIT)
    text = page.inner_text("body")
    assert "Comparing 45 Runs" in text
    assert "unknown" not in text
    assert "Assistant" not in text
    for name in NAMES:
        assert name in text
    axes = {name: set(texts) for name, texts in page.evaluate(_AXES)}  # equal texts share a place
    assert list(axes)[:2] == ["Attack rule", "Defense rule"]
    assert "test/accuracy" in axes
    assert len(axes["Attack rule"]) == len(ATTACKS)
    assert len(axes["Defense rule"]) == len(DEFENSES)
    _kept(shoot(page, shots, "compare"))


def test_the_parent_shows_the_files_that_it_promises(page: Any, address: str) -> None:
    found = "workflowType=machine_learning&searchFilter=tags.kind%3D'grid'"
    page.goto(f"{address.partition('?')[0]}?{found}")
    page.get_by_role("link", name="grid quick").first.click()
    page.get_by_text("Run folder:").wait_for()
    text = page.inner_text("body")
    assert "A parent run" in text
    assert "weights" not in text
    page.get_by_role("tab", name="Artifacts").click()
    for name in ("plan.json", "report"):
        page.get_by_text(name, exact=True).first.wait_for()


def test_a_run_shows_where_it_comes_from_and_its_files(
    page: Any, address: str, shots: Path
) -> None:
    _opened(page, address)
    page.get_by_role("link", name=min(NAMES)).click()
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


def test_a_model_shows_its_accuracy_signature_and_run(
    page: Any, model_address: str, shots: Path
) -> None:
    name = "strike(nu=1) vs multi_krum, digits s0"
    page.goto(model_address)
    page.get_by_role("link", name=name).first.wait_for()
    page.goto(f"{model_address.partition('/runs?')[0]}/models?workflowType=machine_learning")
    page.get_by_role("link", name=name).first.click()
    page.get_by_text("model/accuracy").first.wait_for()
    text = page.inner_text("body")
    assert name in text
    assert "Ready" in text
    assert "digits test" in text
    assert MODEL in text  # the registered model
    _kept(shoot(page, shots, "model"))
    page.get_by_text("Artifacts", exact=True).first.click()
    for file in ("MLmodel", "input_example.json"):
        page.get_by_text(file, exact=True).first.wait_for()


def test_only_this_machines_name_and_user_are_answered(address: str) -> None:
    base = f"http://127.0.0.1:{_port(address)}/"
    with urllib.request.urlopen(f"{base}health", timeout=30) as reply:
        assert reply.status == 200
    foreign = urllib.request.Request(f"{base}api/2.0/mlflow/experiments/search?max_results=1")
    foreign.add_header("Host", "evil.example")
    token = address.partition("/open/")[2].partition("/")[0]
    for given, code in ((token, 403), ("other", 401)):
        foreign.add_header("Authorization", f"Bearer {given}")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(foreign, timeout=30)
        assert refusal.value.code == code


def test_a_busy_port_is_told_in_one_line(home: Path, address: str) -> None:
    port = _port(address)
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
