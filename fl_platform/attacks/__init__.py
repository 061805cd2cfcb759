"""The attacks, one rule a file; ``conf/attack/<name>.yaml`` calls each by its name here."""

from fl_platform.attacks.absent import absent
from fl_platform.attacks.bit_flip import bit_flip
from fl_platform.attacks.ipm import ipm
from fl_platform.attacks.label_flip import label_flip
from fl_platform.attacks.lie import lie
from fl_platform.attacks.none import none
from fl_platform.attacks.strike import strike

__all__ = ["absent", "bit_flip", "ipm", "label_flip", "lie", "none", "strike"]
