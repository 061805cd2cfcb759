"""How things are called and in what order they stand: configuration name -> printed name."""

from __future__ import annotations

from collections.abc import Mapping

from fl_platform.config.static_signature import read_labels

REFERENCES = ("none", "absent")

FIRST = (
    *("none", "absent", "bit_flip", "label_flip", "lie", "ipm", "min_max", "min_sum"),
    *("mimic", "fang", "strike", "lie_matched", "strike_ablation"),
    *("mean", "krum", "multi_krum", "median", "rfa", "aksel", "centered_clipping", "dnc"),
    *("trimmed_mean", "bulyan", "mda"),
)


def _labels(package: str) -> dict[str, str]:
    """Printed names as the rules state them: those of the paper's tables first, in that order."""
    labels = read_labels(package)
    return {name: labels[name] for name in FIRST if name in labels} | labels


ATTACKS = _labels("fl_platform.attacks")
DEFENSES = MIXINGS = _labels("fl_platform.defenses")
TASKS = {
    "cifar10": "CIFAR-10",
    "imagenet12": "ImageNet-12",
    "femnist": "FEMNIST",
    "digits": "digits",
}


def printed(name: str, names: Mapping[str, str]) -> str:
    """The printed name of ``name`` or of a label such as ``strike(nu=0.5)``; unknown ones stay."""
    base, bracket, parameters = name.partition("(")
    space = " " if bracket else ""
    return f"{names.get(base, base)}{space}{bracket}{parameters}"


def order(label: str, names: dict[str, str]) -> tuple[int, str]:
    """A sort key: the order of ``names``, then whatever is not in it by its own name."""
    base = label.partition("(")[0]
    known = list(names)
    return (known.index(base) if base in names else len(known), label)
