"""docs/configuration.md lists every key of the schema with its type, default and range."""

import dataclasses
import re
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from fl_platform.config import schema
from fl_platform.config.validation import describe

PAGE = (Path(__file__).resolve().parents[2] / "docs/configuration.md").read_text()
ROLES = {
    "attack": schema.AttackRole,
    "defense": schema.DefenseRole,
    "observers.metrics.NAME": schema.MetricRole,
}
# What a class requires, and what another field requires beside a value of its own.
NEEDED = {
    schema.Local: {"batch": 16, "lr": 0.1},
    schema.Task: {
        "name": "t", "data": {}, "model": {}, "partition": "iid", "clients": 50, "rounds": 5,
        "local": schema.Local(batch=16, lr=0.1),
    },
    schema.Worker: {"momentum": 0.5},
    schema.Config: {"attack": {"_target_": "fl_platform.attacks.lie"}, "defense": {}, "rounds": 5},
}  # fmt: skip
NEEDED[schema.Config]["task"] = schema.Task(**NEEDED[schema.Task])


def rows():
    """(key, type, default, range) of every row of the page."""
    return [
        (key, kind, default.strip("`"), bounds)
        for key, kind, default, bounds in re.findall(
            r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]*?) ?\| [^|]+ \|$", PAGE, re.MULTILINE
        )
    ]


def leaves(kind, prefix=""):
    """(key, class, field, type) of every setting that is not a group of settings."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key, hint = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, f"{key}.")
        elif key != "observers.metrics":  # by name, as a role below
            yield key, kind, field, hint


KEYS = {key: rest for key, *rest in leaves(schema.Config)}
KEYS |= {key: rest for g, kind in ROLES.items() for key, *rest in leaves(kind, f"{g}.")}


def test_the_page_lists_every_key_once():
    listed = [key for key, *_ in rows()]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(KEYS)
    assert len(listed) == len(re.findall(r"^\| `", PAGE, re.MULTILINE))


@pytest.mark.parametrize(("key", "kind", "default", "bounds"), rows(), ids=lambda text: text)
def test_a_row_agrees_with_the_code(key, kind, default, bounds):
    owner, field, hint = KEYS[key]
    assert kind == describe(hint)
    if field.default is not dataclasses.MISSING:
        assert yaml.safe_load(default) == field.default
    else:
        made = field.default_factory is not dataclasses.MISSING
        assert default == ("none" if made else "–")
    if not bounds:
        return

    def built(value):
        return owner(**NEEDED.get(owner, {}) | {field.name: value})

    whole = "whole" in kind
    low, high = re.match(r"(?:[>=]+ )?([\d.]+)(?: to (< )?([\d.]+))?", bounds).group(1, 3)
    low, step = (int if whole else float)(low), 1 if whole else 1e-9
    least = low + step if bounds.startswith("> ") else low
    built(least)
    with pytest.raises(ValueError, match=field.name):
        built(least - step)
    if high:
        most = int(high) if whole else float(high) - 1e-9
        built(most)
        with pytest.raises(ValueError, match=field.name):
            built(most + step)
