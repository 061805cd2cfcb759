"""Rules of other libraries as ours, and ours as theirs; each library is imported where it is used.

Nothing else of the platform imports this folder. Without the other library a call of it raises
`MissingPackage`, one line that names what to install.
"""

from fl_platform.adapters.byzfl import (
    ByzflAttack,
    ByzflDefense,
    FromByzfl,
    attack_from_byzfl,
    byzfl_attack,
    byzfl_defense,
    from_byzfl,
    register_in_byzfl,
    to_byzfl,
)
from fl_platform.adapters.flower import flower_strategy
from fl_platform.adapters.packages import MissingPackage

__all__ = [
    "ByzflAttack",
    "ByzflDefense",
    "FromByzfl",
    "MissingPackage",
    "attack_from_byzfl",
    "byzfl_attack",
    "byzfl_defense",
    "flower_strategy",
    "from_byzfl",
    "register_in_byzfl",
    "to_byzfl",
]
