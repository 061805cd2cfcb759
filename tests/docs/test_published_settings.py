"""Settings of published papers are accepted, or refused for a reason that the page has."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_REFUSED = 8


def script():
    spec = importlib.util.spec_from_file_location(
        "published_settings", ROOT / "docs/published_settings.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_cell_is_accepted_or_refused_with_its_reason(capsys):
    module = script()
    found = module.report()
    printed = capsys.readouterr().out
    assert found.failed == 0, [line for line in printed.splitlines() if line.startswith("failed")]
    assert found.accepted + found.refused == 91
    assert found.refused <= MOST_REFUSED
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    for _, entry, what in module.cells():
        if isinstance(what, str):
            assert what in page, f"{entry}: the page has no reason for {what!r}"


def test_a_cell_that_cannot_run_is_found(monkeypatch):
    module = script()
    wrong = {"no-attackers": (["attack=ipm"], {"too many": ["byzantine.count=40"]})}
    monkeypatch.setattr(module, "PAPERS", wrong)
    assert module.report() == module.Count(failed=1)
