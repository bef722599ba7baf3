"""How many examples of a law Hypothesis tries: each run has others, so fewer at a time still see many.

`GEOSEG_EXAMPLES=1` tries as many as are written, 10 ten times as many, which finds what is rare.
"""

from __future__ import annotations

import math
import os

_SHARE = float(os.environ.get("GEOSEG_EXAMPLES", "0.3"))


def share_of(count: int) -> int:
    """So many of them, rounded up."""
    return math.ceil(_SHARE * count)
