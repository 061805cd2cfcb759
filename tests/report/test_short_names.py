"""Two rules that differ show what differs, and everything else is said once."""

from pathlib import Path

import pytest

from fl_platform.report.cells import cells, settings_note
from fl_platform.report.labels import ATTACKS, DEFENSES, printed
from fl_platform.report.short_names import parsed, short_names
from tests.report.synthetic import frame


def test_only_what_differs_stays_in_a_name():
    labels = ["strike(nu=1, k=[1, 2])", "strike(nu=1, k=[1, 3])", "strike(nu=1)", "lie(z=1.5)"]
    found = short_names(labels, ATTACKS)
    assert list(found.values()) == ["STRIKE (k=[1, 2])", "STRIKE (k=[1, 3])", "STRIKE", "LIE"]


def test_rules_of_one_printed_name_are_told_apart():
    found = short_names(["lie(z=1)", "LIE(z=2)", "LIE"], ATTACKS)
    assert len(set(found.values())) == 3
    assert set(short_names(["lie", "LIE"], ATTACKS).values()) == {"lie", "LIE"}


def test_a_label_that_cannot_be_read_stays_whole():
    for label in ("odd(", "odd(x)", "(x=1)", "odd(x=1, x=2)", "odd(x=1) y", "odd(a b=1)"):
        assert parsed(label) == (label, {})
        assert short_names([label], {}) == {label: label}


def test_settings_are_said_once_for_each_preset():
    rows = [
        {"attack": "lie", "attack_label": "lie(z=1.5, side=above)", "preset": "official"},
        {"attack": "lie", "attack_label": "lie(z=0.3)", "preset": "paper"},
    ]
    found = cells(frame(*rows))
    assert [cell.row for cell in found] == ["LIE", "LIE"]
    note = settings_note(found)
    assert "(preset official): LIE: z=1.5, side=above." in note
    assert "(preset paper): LIE: z=0.3." in note
    assert settings_note(cells(frame({"attack": "ipm"}))) == ""


CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = {"attack": ATTACKS, "defense": DEFENSES, "mixing": DEFENSES}


@pytest.mark.parametrize("group", GROUPS)
def test_every_rule_has_a_short_readable_label_of_its_own(group):
    """A rule of the configuration prints as more than its own name, and fits a narrow column."""
    stacked = (
        {"none", "nnm_bucketing", "unit_bucketing", "clipping_nnm"} if group == "mixing" else set()
    )  # no mixing, two of them
    names = {path.stem for path in (CONF / group).glob("*.yaml")} - stacked
    labels = {name: printed(name, GROUPS[group]) for name in names}
    assert [name for name in names if name not in GROUPS[group]] == []
    assert [label for label in labels.values() if "_" in label or not 2 <= len(label) <= 16] == []
    assert len(set(labels.values())) == len(names)
