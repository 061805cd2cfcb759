"""Each shipped yaml, mistyped in many ways: every mutant is refused in one line with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fl_platform.config import ConfigError, compose

ROOT = Path(__file__).parents[2]
GROUPS = ("task", "attack", "defense", "mixing", "observers")
BEYOND = ("9" * 400, "-1e300")  # neither 64 bits nor a float32 hold them
CHOICES = [(g, file.stem) for g in GROUPS for file in sorted((ROOT / "conf" / g).glob("*.yaml"))]


def leaves(node: dict, prefix: str):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def mutants(key: str, value: object):
    """Overrides that are wrong whatever the setting means, each a slip of the hand."""
    yield f"{key}x", "1"  # a letter too many
    yield f"{key[:-1]}", "1"  # one too few
    yield f"+{key}_", "1"
    if isinstance(value, bool):
        wrong = ["1", "no", "'true'", "null", "[]"]
    elif isinstance(value, int | float):
        wrong = ["'1'", "abc", "nan", "-inf", "true", "[]", "{a: 1}", "1_x", *BEYOND]
    elif isinstance(value, str):
        wrong = ["7.5", "nan", "[]", "{a: 1}"]
    else:  # null: a number or a text may be meant, so only what is neither
        wrong = ["nan", "[]", "{a: 1}"]
    for text in wrong:
        yield key, text


def cases():
    root = yaml.safe_load((ROOT / "conf/config.yaml").read_text())
    del root["defaults"]
    for key, value in leaves(root, ""):
        yield from (([], *mutant) for mutant in mutants(key.lstrip("."), value))
    for group, name in CHOICES:
        node = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text()) or {}
        node.pop("defaults", None)
        for key, value in leaves(node, group):
            yield from (([f"{group}={name}"], *mutant) for mutant in mutants(key, value))


CASES = list(cases())
FEW = CASES[:: len(CASES) // 100]  # about a hundred, spread over all files


def test_every_shipped_choice_composes_unmutated():
    for group, name in CHOICES:
        compose([f"{group}={name}"], ROOT)


@pytest.mark.parametrize("chosen", [FEW, pytest.param(CASES, marks=pytest.mark.nightly)], ids=len)
def test_every_mutant_is_refused_in_one_line_that_names_its_key(chosen):
    assert len(chosen) >= 60
    accepted, unnamed = [], []
    for choice, key, text in chosen:
        try:
            compose([*choice, f"{key}={text}"], ROOT)
        except ConfigError as refusal:
            asked = key.lstrip("+").rpartition(".")[0] or key.lstrip("+")
            if asked not in str(refusal) or "\n" in str(refusal):
                unnamed.append((*choice, f"{key}={text}", str(refusal)))
        else:
            accepted.append((*choice, f"{key}={text}"))
    assert accepted == []
    assert unnamed == []


def test_a_choice_mistyped_names_the_nearest():
    for group, name in CHOICES:
        with pytest.raises(ConfigError, match=f"^{group}: there is no '{name}x'; did you mean"):
            compose([f"{group}={name}x"], ROOT)
