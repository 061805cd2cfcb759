"""Attackers written against unit rows and spectral filtering, by knowledge of the rule.

fl-platform run --plugin filter_attacks attack=cone attack.direction=starve defense=spectral_filter
"""

from filter_attacks.cone import Cone

__all__ = ["Cone"]
