"""One seed for all faults of a session, the parent of their trials, and a summary of figures."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.zygote import Zygote

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("FL_FAULT_SEED") or secrets.randbelow(2**31))
REPEATS = int(os.environ.get("FL_FAULT_REPEATS", "1"))
FIGURES: list[str] = []
_zygotes: list[Zygote] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``FL_FAULT_REPEATS=20``: every test so often, each time with draws of its own."""
    if REPEATS > 1:
        metafunc.fixturenames.append("repeat")
        metafunc.parametrize("repeat", range(REPEATS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fork the parent now: everything is imported, and no test has started a thread yet."""
    wanted = any(Path(__file__).parent in item.path.parents for item in session.items)
    if wanted and not session.config.option.collectonly:
        from fl_platform.data import digits
        from fl_platform.run import outputs as artifacts  # noqa: F401 - what trials need, imported once

        digits()
        _zygotes.append(Zygote())
        if any(item.path.name == "test_tracking.py" for item in session.items):
            # imported in the parent of the trials, never here: MLflow may start threads
            _zygotes.append(
                Zygote(["mlflow.tracking.client", "mlflow.store.tracking.sqlalchemy_store"])
            )


def pytest_sessionfinish() -> None:
    for zygote in _zygotes:
        zygote.close()
    _zygotes.clear()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("faults")
    terminalreporter.line(f"seed {SEED}; FL_FAULT_SEED={SEED} repeats these instants and choices")
    for figure in FIGURES:
        terminalreporter.line(figure)


@pytest.fixture
def zygote() -> Zygote:
    return _zygotes[0]


@pytest.fixture
def bare() -> Zygote:
    """The parent of trials that speak to MLflow."""
    return _zygotes[1]


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Every draw of a test: from the session's seed and the test's name."""
    print(f"FL_FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def figure() -> Iterator[Any]:
    """Tell a figure in the summary: ``figure("R1", "5 of 5 equal")``."""

    def tell(name: str, text: str) -> None:
        FIGURES.append(f"{name}: {text}")

    return tell


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the shipped ``conf/`` and an empty store."""
    return make_home(tmp_path / "home")


def make_home(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "conf").symlink_to(REPOSITORY / "conf")
    return path
