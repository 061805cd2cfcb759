"""The tables of the page on defenses are what the files beside it say, to the letter."""

import csv
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from fl_platform.core import Updates
from fl_platform.defenses import sign_guard, spectral_filter

DATA = Path(__file__).parents[2] / "docs" / "results" / "data"


@pytest.fixture
def defense(page_script):
    """The page's script over a copy of the page and its data."""
    return page_script("defense")


def test_the_page_says_what_its_data_say(defense):
    assert defense.main(["--check"]) == 0


FILES = sorted(path.name for path in DATA.glob("*.csv") if "arena" in path.name)
FILES += [*sorted(path.name for path in DATA.glob("defense-*.csv")), "mnist-defense.csv"]


@pytest.mark.parametrize("name", FILES)
def test_a_page_that_is_behind_its_data_is_noticed(defense, name):
    path = defense.HERE / name
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["end"] = str(float(row["end"]) + 0.5)
        row["per_seed"] = " ".join(f"{float(v) + 1}" for v in row.get("per_seed", "").split())
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert defense.main(["--check"]) == 1


def test_every_block_of_the_page_has_a_table_and_every_table_a_block(defense):
    text = defense.PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- table: {name} -->" in text for name in defense.BLOCKS)
    assert text.count("<!-- table: ") == len(defense.BLOCKS) == text.count("<!-- end -->")


@pytest.fixture
def attackers(monkeypatch):
    """The plug-in of the page's own attackers."""
    monkeypatch.syspath_prepend(str(DATA))
    module = importlib.import_module("filter_attacks.cone")
    yield module
    for name in [name for name in sys.modules if name.startswith("filter_attacks")]:
        del sys.modules[name]


@pytest.fixture
def sign_attackers(monkeypatch):
    """The plug-in of the attackers that know SignGuard."""
    monkeypatch.syspath_prepend(str(DATA))
    module = importlib.import_module("sign_attacks.mimic_signs")
    yield module
    for name in [name for name in sys.modules if name.startswith("sign_attacks")]:
        del sys.modules[name]


def test_the_attackers_compute_what_the_filter_does(attackers):
    stream = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 30, generator=stream) + 1
    rows[:4] = -rows[4:8].mean(0) + torch.randn(4, 30, generator=stream)
    kept = spectral_filter(Updates(rows), 4).weights.nonzero().flatten()
    gram = (rows @ rows.T).double().numpy()
    assert attackers._filtered(gram, 4).tolist() == kept.tolist()


@pytest.mark.parametrize("direction", ["starve", "split", "greedy", "search"])
def test_the_rows_of_an_attacker_have_the_median_honest_length(attackers, direction):
    stream = torch.Generator().manual_seed(1)
    honest = Updates(torch.randn(12, 40, generator=stream) + 0.5)
    attack = attackers.Cone(0, direction=direction, goal="class", length=0.6)
    model = torch.randn(40, generator=stream)
    rows = attack(honest, 3, model=model, round=0, layers=(30, 6, 4))
    lengths = honest.matrix.norm(dim=1)
    assert rows.norm(dim=1) == pytest.approx(lengths.median().expand(3), rel=0.2)


@pytest.mark.parametrize(
    ("positive", "negative"), [(0.3, 0.3), (0.6, 0.4), (0, 0.2), (0.5, 0), (1, 0)]
)
@pytest.mark.parametrize("zeros", [0, 50])
def test_a_row_gets_any_shares_of_signs(sign_attackers, positive, negative, zeros):
    v = torch.randn(100, generator=torch.Generator().manual_seed(0)) ** 3
    v[:zeros] = 0
    shares = sign_attackers.sign_shares(sign_attackers.with_shares(v, positive, negative)[None])
    assert shares[0].tolist() == pytest.approx([positive, negative], abs=1e-9)


def test_sign_guard_refuses_reversed_rows_and_keeps_those_with_honest_shares(sign_attackers):
    stream = torch.Generator().manual_seed(0)
    usual = torch.randn(2000, generator=stream) ** 3 + 0.3
    honest = usual + 0.3 * torch.randn(15, 2000, generator=stream) ** 3
    kept, along = {}, {}
    for place in ("own", "center"):
        attack = sign_attackers.MimicSigns(place=place)
        rows = attack(Updates(honest), 5, model=torch.ones(2000), round=0, layers=(1990, 10))
        weights = sign_guard()(Updates(torch.cat([honest, rows])), 5).weights
        kept[place] = int((weights[15:] > 0).sum())
        along[place] = float(torch.cosine_similarity(rows[0], -honest.mean(0), dim=0))
    assert kept == {"own": 0, "center": 5}
    assert along["center"] > 0.9
