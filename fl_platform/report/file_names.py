"""Names of the report's files: ``curves-digits``, longer only where two would be equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from fl_platform.report.cells import Setting

LONGEST = 80  # characters

# How a value of a setting stands in a file name; the task comes first, always.
_WORDS = {
    "preset": "{}",
    "mixing": "{}",
    "beta": "beta-{:g}",
    "byzantine_fraction": "byzantine-{:g}",
    "clients": "{}-clients",
    "rounds": "{}-rounds",
    "variant": "{}",
}
_WITHOUT = {"mixing": "no-mixing", "beta": "no-beta", "preset": "no-preset"}


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def setting(self) -> Setting | None: ...


_Item = TypeVar("_Item", bound=_Named)


def by_file_name(items: Sequence[_Item]) -> dict[str, _Item]:
    """The items by file name without ending: kind, task, and the difference of equal ones.

    Names of two settings of one task contain the values in which they differ
    (``curves-digits-beta-0.1``); names that are equal even so get a number.
    """
    found: dict[str, _Item] = {}
    for item in items:
        name = stem = _stem(item, items)
        count = 1
        while name in found:
            count += 1
            name = f"{stem}-{count}"
        found[name] = item
    return found


def slug(text: str) -> str:
    """``text`` as part of a file name: letters, digits, points and hyphens only."""
    kept = (c if c.isascii() and (c.isalnum() or c == ".") else "-" for c in text)
    words = (word.strip(".") for word in "".join(kept).split("-"))
    return "-".join(filter(None, words))[:LONGEST].strip("-.")


def _telling(settings: Sequence[Setting]) -> list[str]:
    """The first fields that tell the settings apart, without those that add nothing to them."""
    chosen: list[str] = []
    groups = 1
    for name in _WORDS:
        wider = len({tuple(getattr(s, n) for n in (*chosen, name)) for s in settings})
        if wider > groups:
            chosen, groups = [*chosen, name], wider
    return chosen


def _stem(item: _Named, items: Sequence[_Named]) -> str:
    if item.setting is None:
        return slug(item.name) or "runs"
    rivals = [
        other.setting
        for other in items
        if other.name == item.name
        and other.setting is not None
        and other.setting.task == item.setting.task
    ]
    parts = [item.name, item.setting.task]
    for name in _telling(rivals):
        value = getattr(item.setting, name)
        absent = value is None or value == "" or (name == "preset" and value == "none")
        parts.append(_WITHOUT.get(name, "") if absent else _WORDS[name].format(value))
    return slug("-".join(filter(None, parts))) or "runs"
