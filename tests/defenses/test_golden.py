import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_platform import defenses
from fl_platform.core import Updates
from tests.defense_cases import VARIANTS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "defenses.json").read_text())
ROWS = torch.tensor(GOLDEN["rows"], dtype=torch.float64)


def label(answer: dict[str, Any]) -> str:
    return f"{answer['rule']} {answer['parameters']} by {answer['source']}"


@pytest.mark.parametrize("answer", GOLDEN["answers"], ids=label)
def test_golden_vector(answer: dict[str, Any]) -> None:
    rule, parameters = getattr(defenses, answer["rule"]), answer["parameters"]
    rule = rule(0, **parameters) if isinstance(rule, type) else partial(rule, **parameters)
    result = rule(Updates(ROWS), GOLDEN["f"])
    got = result @ ROWS if answer["rule"] == "nnm" else result.vector
    expected = torch.tensor(answer["value"], dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-7)


def test_every_variant_has_a_golden_vector() -> None:
    recorded = [(answer["rule"], answer["parameters"]) for answer in GOLDEN["answers"]]
    assert all((variant.rule, variant.parameters) in recorded for variant in VARIANTS)


def test_variants_differ_where_they_should() -> None:
    """Golden vectors that were all alike would prove nothing about which variant ran."""
    values: dict[str, set[tuple[float, ...]]] = {}
    for answer in GOLDEN["answers"]:
        if answer["rule"] == "nnm":
            continue  # a matrix, and one variant
        rounded = tuple(round(value, 6) for value in answer["value"])
        values.setdefault(answer["rule"], set()).add(rounded)
    distinct = {"median": 2, "trimmed_mean": 2, "krum": 3, "multi_krum": 4, "rfa": 4, "aksel": 2}
    distinct |= {"centered_clipping": 4, "dnc": 3, "bulyan": 3}
    assert {
        rule: len(values[rule]) for rule in distinct if len(values[rule]) < distinct[rule]
    } == {}
