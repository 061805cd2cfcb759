"""How things are called and in what order they stand: configuration name -> printed name."""

from __future__ import annotations

from collections.abc import Mapping

REFERENCES = ("none", "absent")

ATTACKS = {
    "none": "No attack",
    "absent": "Absent",
    "bit_flip": "BitFlip",
    "label_flip": "LabelFlip",
    "lie": "LIE",
    "ipm": "IPM",
    "min_max": "MinMax",
    "min_sum": "MinSum",
    "mimic": "Mimic",
    "fang": "Fang",
    "strike": "STRIKE",
    "lie_matched": "LIE, matched",
    "strike_ablation": "STRIKE, ablated",
}
DEFENSES = {
    "mean": "Mean",
    "krum": "Krum",
    "multi_krum": "Multi-Krum",
    "median": "Median",
    "rfa": "RFA",
    "aksel": "Aksel",
    "centered_clipping": "CClip",
    "dnc": "DnC",
    "trimmed_mean": "RBTM",
    "bulyan": "Bulyan",
    "mda": "MDA",
}
MIXINGS = {"nnm": "NNM", "bucketing": "bucketing"}
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
