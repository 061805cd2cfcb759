"""Attackers written against SignGuard, by knowledge of the rule.

fl-platform run --plugin sign_attacks attack=mimic_signs attack.direction=drift defense=sign_guard
"""

from sign_attacks.mimic_signs import MimicSigns

__all__ = ["MimicSigns"]
