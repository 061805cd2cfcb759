"""What rules a comparison out: code that no commit names, other runs, mixed conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fl_platform.grid.plan import Cell
from fl_platform.repro.conditions import Stored, differing
from fl_platform.repro.reference import DIGITS, Reference
from fl_platform.run import provenance

TOLD = 5  # names in a message


class CouldNotRun(RuntimeError):  # noqa: N818 - told to the user by its name
    """There is nothing to compare, for a reason that a person can mend."""


def refuse_unnamed_code(reference: Reference | None) -> None:
    """Refuse code that no commit names; that of an installed release must be the reference's."""
    commit, dirty = provenance.git_state()
    if dirty:
        raise CouldNotRun("the tree has changes that no commit holds: commit or stash them.")
    known = None if reference is None else reference.origin.conditions.get("code_fingerprint")
    if not commit and known != provenance.code_fingerprint():
        raise CouldNotRun(
            "expected a git checkout, so that a commit names the code, or an installed release"
            " whose code is the reference's; got neither."
        )


def refuse_other_runs(reference: Reference, cells: Sequence[Cell]) -> None:
    """Refuse a reference of other configurations than the suite's: nothing could be paired."""
    asked = {cell.config_hash[:DIGITS]: cell.name for cell in cells}
    missing = [name for key, name in asked.items() if key not in reference.outcomes]
    beyond = [f"{o.cell} s{o.seed}" for k, o in reference.outcomes.items() if k not in asked]
    if missing or beyond:
        raise CouldNotRun(
            f"the reference is of other settings: {some(missing, len(asked))} are not in it,"
            f" {len(beyond)} of its own are not in the suite; `repro accept` a new one."
        )


def shared_conditions(runs: Sequence[Stored]) -> dict[str, Any]:
    """The conditions that all ``runs`` were made under; refuses several."""
    first = runs[0].conditions
    for run in runs[1:]:
        found = differing(first, run.conditions)
        if found:
            pairs = ", ".join(f"{key}: {a!r}, {b!r}" for key, (a, b) in found.items())
            raise CouldNotRun(f"expected runs under the same conditions, got others ({pairs}).")
    return first


def diverged_before(before: Reference | None, config_hash: str) -> bool:
    """Whether the reference before has this run as a diverged one."""
    outcome = None if before is None else before.outcomes.get(config_hash)
    return outcome is not None and outcome.accuracy is None


def some(names: Sequence[str], total: int) -> str:
    """``3 of 72 (a, b, c)``."""
    listed = "; ".join(names[:TOLD]) + (" …" if len(names) > TOLD else "")
    return f"{len(names)} of {total} ({listed})" if names else f"0 of {total}"
