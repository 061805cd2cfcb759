"""The page of `fl-platform ui --studies` in a browser: the front of a study with two objectives."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from fl_platform.study.export import attach
from fl_platform.study.problem import FRONT_LABELS, open_study
from fl_platform.study.runner import prepare
from fl_platform.study.storage import artifact_folder, open_storage
from tests.e2e.browser import INSTALL, WAIT, executable, shoot, tab
from tests.e2e.test_browser import _free_port

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).resolve().parents[2]
POINTS = ((90.0, 40.0), (85.0, 60.0), (80.0, 50.0), (70.0, 65.0))  # the third is dominated
_SERIES = """() => [...document.querySelectorAll('.js-plotly-plot')].slice(0, 1)
    .flatMap(it => it.data)
    .map(it => [...it.x].map((x, i) => [x, it.y[i]]).filter(([x]) => x !== null))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The printed address of the page over a journal file with one study and one artifact."""
    home = tmp_path_factory.mktemp("studies")
    for name in ("conf", "tuning"):
        (home / name).symlink_to(REPOSITORY / name)
    url = f"journal://{home}/studies.journal"
    storage = open_storage(home, url)
    study = open_study(prepare("front", ["defense=trimmed_mean"], home, name="seen"), storage)
    space = {"defense.trim": optuna.distributions.IntDistribution(0, 24)}
    for trim, values in enumerate(POINTS):
        trial = optuna.create_trial(
            params={"defense.trim": trim}, distributions=space, values=values
        )
        study.add_trial(trial)
    table = home / "front.csv"
    table.write_text("trial,on_front\n")
    attach(study, [table], artifact_folder(home, storage))
    port = _free_port()
    words = ["ui", "--studies", "--storage", url, "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "fl_platform.cli", *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    yield next(line.strip() for line in server.stdout if line.startswith("http"))
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    if executable() is None:
        pytest.fail(f"Expected Chromium, got none; install it: {INSTALL}", pytrace=False)
    with tab(tmp_path / "profile") as opened:
        yield opened
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def test_the_front_is_drawn_with_the_names_of_both_objectives(
    page: Any, address: str, tmp_path: Path
) -> None:
    page.goto(address)
    page.get_by_text("seen").first.click()
    page.get_by_text(re.compile("Pareto", re.IGNORECASE)).first.wait_for()
    for name in FRONT_LABELS:
        page.get_by_text(name, exact=True).first.wait_for()
    page.wait_for_function(f"({_SERIES})().flat().length === {len(POINTS)}", timeout=WAIT)
    series = [sorted(map(tuple, points)) for points in page.evaluate(_SERIES)]
    assert sorted(filter(None, series), key=len) == [[POINTS[2]], sorted({*POINTS} - {POINTS[2]})]
    assert "Objective 0" not in page.inner_text("body")
    folder = Path(os.environ["SHOTS"]) if "SHOTS" in os.environ else tmp_path
    assert shoot(page, folder, "front").stat().st_size > 10_000


def test_the_files_of_a_study_are_its_artifacts(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_text("seen").first.click()
    page.get_by_text(re.compile("Pareto", re.IGNORECASE)).first.wait_for()
    base = f"http://127.0.0.1:{urllib.parse.urlsplit(address).port}"
    told = page.evaluate(f"async () => (await (await fetch('{base}/api/studies/0')).json())")
    (artifact,) = told["artifacts"]
    assert artifact["filename"] == "front.csv"
    path = f"{base}/artifacts/0/{artifact['artifact_id']}"
    assert page.evaluate(f"async () => await (await fetch('{path}')).text()") == "trial,on_front\n"
