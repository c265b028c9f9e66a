"""What zone abbreviations in news may mean: every offset that one stands for somewhere.

RFC 2822 fixes eight abbreviations of North America. The others are habits, one word serves several countries, and `ET`
is either of two clocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache

WEST, EAST = -12.0, 14.0
"""Hours: the clocks that are furthest behind UTC and furthest ahead of it."""
ABBREVIATIONS: dict[str, tuple[float, ...]] = {
    "UTC": (0,), "GMT": (0,), "UT": (0,), "Z": (0,), "WET": (0,), "WEST": (1,),
    # North America by RFC 2822, whose meaning is also the latest: the CST of China and of Cuba are ahead of Chicago's
    "EST": (-5,), "EDT": (-4,), "CST": (-6,), "CDT": (-5,), "MST": (-7,), "MDT": (-6,), "PST": (-8,), "PDT": (-7,),
    "ET": (-5, -4), "CT": (-6, -5), "MT": (-7, -6), "PT": (-8, -7), "AST": (-4, 3), "ADT": (-3, 4), "NST": (-3.5,),
    "NDT": (-2.5,), "AKST": (-9,), "AKDT": (-8,), "HST": (-10,), "HDT": (-9,), "SST": (-11, 8),
    # Latin America
    "BRT": (-3,), "BRST": (-2,), "ART": (-3,), "CLT": (-4,), "CLST": (-3,), "COT": (-5,), "PET": (-5,), "VET": (-4.5, -4),
    # Europe, Africa
    "BST": (1, 6, 11), "IST": (1, 2, 5.5), "CET": (1,), "CEST": (2,), "MEZ": (1,), "MESZ": (2,), "EET": (2,), "EEST": (3,),
    "MSK": (3, 4), "MSD": (4,), "TRT": (3,), "IDT": (3,), "WAT": (1,), "CAT": (2,), "SAST": (2,), "EAT": (3,),
    # Asia, Pacific
    "GST": (-2, 4), "PKT": (5,), "ICT": (7,), "WIB": (7,), "HKT": (8,), "SGT": (8,), "PHT": (8,), "AWST": (8,), "JST": (9,),
    "KST": (9,), "ACST": (9.5,), "ACDT": (10.5,), "AEST": (10,), "AEDT": (11,), "NZST": (12,), "NZDT": (13,),
}  # fmt: skip
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d\d?):?(\d\d)?")
_SIXTY = 60


@lru_cache(maxsize=1_024)
def offsets_of(zone: str | None) -> Sequence[timedelta]:
    """Offsets east of UTC that `zone` may mean: those of an abbreviation or a number; of any other word, of all clocks.

    Raises:
        ValueError: a number that is no clock's, such as +2500.

    Example:
        >>> [str(offset) for offset in offsets_of("IST")]
        ['1:00:00', '2:00:00', '5:30:00']
    """
    written = _OFFSET.fullmatch(zone or "")
    if written is None:
        return [timedelta(hours=hours) for hours in ABBREVIATIONS.get((zone or "").upper(), (WEST, EAST))]
    sign, hours, minutes = written.groups(default="0")
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    if int(minutes) >= _SIXTY or not timedelta(hours=WEST) <= offset <= timedelta(hours=EAST):
        raise ValueError(zone)
    return [offset]
