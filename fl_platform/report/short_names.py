"""Short names of rules: a label keeps what tells two rules apart, the rest is said once.

``strike(nu=1, median=upper)`` alone in a report is *STRIKE*, with the note *STRIKE: nu=1,
median=upper*. Beside ``strike(nu=0.5, median=upper)`` the two are *STRIKE (nu=1)* and
*STRIKE (nu=0.5)*, with the note *STRIKE: median=upper*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fl_platform.report.labels import MIXINGS, printed


def short_names(labels: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """Label -> printed name with only those parameters in which labels of one rule differ.

    Args:
        labels: As ``run.naming.rule_label`` writes them; one that cannot be read stays whole.
        names: Printed names of known rules.

    >>> short_names(["strike(nu=1, k=5)", "strike(nu=2, k=5)", "lie(z=1)"], {"lie": "LIE"})
    {'strike(nu=1, k=5)': 'strike (nu=1)', 'strike(nu=2, k=5)': 'strike (nu=2)', 'lie(z=1)': 'LIE'}
    """
    found = {}
    for base, variants in _by_rule(labels).items():
        common = _common(variants.values())
        for label, parameters in variants.items():
            kept = [f"{k}={v}" for k, v in parameters.items() if (k, v) not in common]
            name = names.get(base, base)
            found[label] = f"{name} ({', '.join(kept)})" if kept else name
    # Two rules of one short name, such as an own rule called as a known one is printed.
    counts = Counter(found.values())
    found = {k: v if counts[v] == 1 else printed(k, names) for k, v in found.items()}
    counts = Counter(found.values())
    return {k: v if counts[v] == 1 else k for k, v in found.items()}


def said_once(labels: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """What the short names leave out, one text per rule: ``STRIKE: nu=1, median=upper``."""
    said = []
    for base, variants in _by_rule(labels).items():
        common = _common(variants.values())
        if common:
            settings = ", ".join(f"{key}={value}" for key, value in common)
            said.append(f"{printed(base, names)}: {settings}")
    return said


def printed_mixing(mixing: str) -> str:
    """``"nnm+bucketing(s=2)"`` as printed; stacked mixings are joined by a plus or a comma."""
    if not mixing:
        return ""
    parts = split_outside_brackets(mixing, "+,")
    return " + ".join(printed(part.strip(), MIXINGS) for part in parts)


def parsed(label: str) -> tuple[str, dict[str, str]]:
    """``"a(x=1, y=[2, 3])"`` -> ``("a", {"x": "1", "y": "[2, 3]"})``; else the whole label."""
    base, bracket, rest = label.partition("(")
    if not bracket:
        return label, {}
    if not base or not rest.endswith(")"):
        return label, {}
    parameters = {}
    for part in split_outside_brackets(rest[:-1], ","):
        key, equals, value = part.strip().partition("=")
        if not equals or not key.isidentifier() or key in parameters:
            return label, {}
        parameters[key] = value
    return base, parameters


def split_outside_brackets(text: str, separators: str) -> list[str]:
    """``text`` cut at each of ``separators`` that stands in no bracket."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter in separators and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _by_rule(labels: Iterable[str]) -> dict[str, dict[str, dict[str, str]]]:
    rules: dict[str, dict[str, dict[str, str]]] = {}
    for label in dict.fromkeys(labels):
        base, parameters = parsed(label)
        rules.setdefault(base, {})[label] = parameters
    return rules


def _common(variants: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    """The parameters that all variants of a rule share, in the order of the first."""
    every = list(variants)
    return [item for item in every[0].items() if all(item in other.items() for other in every[1:])]
