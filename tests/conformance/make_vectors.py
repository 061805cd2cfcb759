"""Write the golden vectors: ``python -m tests.conformance.make_vectors``.

Every result comes from the loops of ``tests/reference_*.py``, which are written from the formulas
and import nothing of the package. Rules that draw, and rules whose answer depends on earlier
rounds, have no vectors: `WITHOUT` names them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fl_platform.adapters.conformance.golden import VECTORS
from fl_platform.adapters.conformance.inputs import Input, Rows, inputs
from fl_platform.adapters.conformance.verdicts import rule_of
from fl_platform.defenses import largest_f
from tests import reference_attacks, reference_defenses, reference_field
from tests.defense_cases import VARIANTS

WITHOUT = {
    "absent": "sends nothing",
    "none": "sends nothing",
    "bit_flip": "sees one client's update: its negative",
    "label_flip": "changes labels, not rows",
    "gaussian": "draws",
    "inf": "infinities are no JSON numbers",
    "agr_tailored": "searches against a defense that it is given",
    "optimal_alie": "searches against a defense that it is given",
    "optimal_ipm": "searches against a defense that it is given",
    "fang": "searches against a defense that it is given",
    "fang_krum": "a search whose end depends on ties",
    "fang_trimmed_mean": "draws",
    "lie_matched": "an ablation of this platform",
    "strike_ablation": "an ablation of this platform",
    "mpaf": "draws",
    "poisoned_fl": "depends on earlier rounds",
    "rop": "depends on earlier rounds",
    "crowding": "a rule of this platform alone",
    "directional": "the arena's attack, with memory",
    "spectral_filter": "a rule of this platform alone",
    "unit_rows": "a mixing of this platform alone",
    "bucketing": "draws",
    "cosine_bucketing": "draws",
    "dnc": "draws",
    "fl_detector": "depends on earlier rounds",
    "gas": "draws",
    "sign_guard": "draws",
    "fltrust": "asks for the server's own update",
}
# No vector: (rule, inputs, settings for which that holds, why).
LINE = "all rows point one way, so that every cosine is 1 and only rounding tells them apart"
OPEN: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("caf", ("tied-line", "all-equal"), {}, "no spread, or weights that end on equal scores"),
    ("smea", ("tied-pairs", "tied-integers", "tied-line", "all-equal"), {}, "subsets tie"),
    ("fed_seca", ("all-equal",), {}, "quantiles of equal magnitudes"),
    (
        "bulyan",
        ("no-attackers",),
        {"selection": "multi-krum"},
        "two rows are equally near their mean",
    ),
    ("flame", ("tied-line", "one-column"), {}, LINE),
    ("krum", ("one-column",), {"distance_power": 1}, "sums of lengths on a line tie"),
    ("lasa", ("tied-integers", "far"), {}, "of equal magnitudes in a row any may be kept"),
    ("min_max", ("far",), {}, "the reference's search ends at 1e4"),
    ("min_sum", ("far",), {}, "the reference's search ends at 1e4"),
    ("rfa", ("far",), {"iterations": "converged"}, "the reference's minimiser is exact to 1e-5"),
]
TOLERANCES = {"rfa": 1e-6, "caf": 1e-6, "min_max": 1e-6, "min_sum": 1e-6, "strike": 1e-6}


def of_one_row(formula: Callable[..., Any], **given: Any) -> Callable[[Rows, int], Any]:
    """An attack's reference that does not look at f."""
    return lambda rows, f: formula(rows, **given)


def strength(rows: Rows, f: int) -> float:
    return max(reference_attacks.lie_z(len(rows) + f, f), 0.0)


def attack_variants() -> list[tuple[str, dict[str, Any], Callable[[Rows, int], Any]]]:
    """(rule, settings, reference) of the attacks."""
    lie, ways = reference_attacks.lie, ("std", "sign", "unit")
    made: list[tuple[str, dict[str, Any], Any]] = [
        ("lie", {"z": 1.5, "side": side, "ddof": ddof, "z_from": "fixed"},
         of_one_row(lie, z=1.5, plus=side == "above", ddof=ddof))
        for side in ("below", "above") for ddof in (0, 1)
    ]  # fmt: skip
    made.append((
        "lie", {"z_from": "baruch", "side": "above", "ddof": 0, "z": 1.5},
        lambda rows, f: lie(rows, strength(rows, f), plus=True),
    ))  # fmt: skip
    made += [("ipm", {"scale": s}, lambda rows, f, s=s: -s * rows.mean(0)) for s in (0.1, 1.0)]
    made += [
        (name, {"deviation": way, "side": "below", "search": "closed"},
         of_one_row(getattr(reference_attacks, name), kind=way))
        for name in ("min_max", "min_sum") for way in ways
    ]  # fmt: skip
    made.append(
        (
            "min_sum",
            {"deviation": "std", "side": "below", "search": "closed", "bound": "smallest"},
            of_one_row(reference_attacks.min_sum, kind="std", smallest=True),
        )
    )
    made += [("zero", {}, lambda rows, f: np.zeros(rows.shape[1]))]
    made += [("mimic", {"copied": row}, lambda rows, f, row=row: rows[row]) for row in (0, 2)]
    made += [("strike", {"nu": nu}, partial(reference_attacks.strike, nu=nu)) for nu in (0.5, 1.0)]
    return made


def variants() -> Iterator[tuple[str, str, dict[str, Any], Callable[[Rows, int], Any]]]:
    """(kind, rule, settings, reference)."""
    for each in VARIANTS:
        if each.rule not in WITHOUT:
            yield "defense", each.rule, each.parameters, each.twin
    for inside in (True, False):
        twin = partial(reference_defenses.nnm, include_self=inside)
        yield "mixing", "nnm", {"include_self": inside}, twin
    yield "mixing", "arc", {}, reference_field.arc
    yield "mixing", "clipping", {"c": 1.5}, partial(reference_field.clipping, c=1.5)
    for rule, settings, twin in attack_variants():
        yield "attack", rule, settings, twin


def spelled_out(rule: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All settings of a rule, so that no default is left to the reader."""
    own = inspect.signature(rule_of(rule)).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    return {p.name: p.default for p in own if p.kind is keyword} | settings


def usable(kind: str, rule: str, settings: dict[str, Any], each: Input) -> bool:
    for name, those, under, _ in OPEN:
        if (name, True) == (rule, each.name in those) and under.items() <= settings.items():
            return False
    if kind == "attack":
        return each.f > 0
    return each.f <= largest_f(partial(rule_of(rule), **settings), len(each.rows))


def value(twin: Callable[[Rows, int], Any], each: Input) -> Rows | None:
    """The reference's answer; ``None`` where the formula has none, such as 0 / 0."""
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(twin(each.rows.copy(), each.f))
    except ArithmeticError:
        return None
    return result if np.isfinite(result).all() else None


def contents() -> dict[str, dict[str, Any]]:
    """File name -> content."""
    files: dict[str, dict[str, Any]] = {}
    stored = inputs()
    for kind, rule, settings, twin in variants():
        file = files.setdefault(rule, {
            "format": 1,
            "rule": rule,
            "kind": kind,
            "tolerance": TOLERANCES.get(rule, 1e-9),
            "inputs": {},
            "vectors": [],
        })  # fmt: skip
        for each in stored:
            if not usable(kind, rule, settings, each):
                continue
            result = value(twin, each)
            if result is None:
                continue
            rows = {"family": each.family, "f": each.f, "rows": each.rows.tolist()}
            file["inputs"][each.name] = rows
            file["vectors"].append(
                {
                    "input": each.name,
                    "settings": spelled_out(rule, settings),
                    "result": (result + 0.0).tolist(),
                }
            )
    return files


def written(content: dict[str, Any]) -> str:
    """JSON with one input or vector on a line."""
    head = [f'  "{key}": {json.dumps(content[key])},' for key in ("format", "rule", "kind")]
    head.append(f'  "tolerance": {content["tolerance"]},')
    rows = [f"    {json.dumps(name)}: {json.dumps(i)}" for name, i in content["inputs"].items()]
    vectors = [f"    {json.dumps(vector)}" for vector in content["vectors"]]
    body = ['  "inputs": {', ",\n".join(rows), "  },", '  "vectors": [', ",\n".join(vectors), "  ]"]
    return "\n".join(["{", *head, *body, "}"]) + "\n"


def main(folder: Path = VECTORS) -> None:
    for rule, content in contents().items():
        (folder / f"{rule}.json").write_text(written(content), encoding="utf-8")


if __name__ == "__main__":
    main()
