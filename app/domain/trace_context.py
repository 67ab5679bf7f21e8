"""W3C Trace Context: which `traceparent` of a caller's is taken.

Source: https://www.w3.org/TR/trace-context/#traceparent-header. `tracestate` is not kept.
"""

import re
from collections.abc import Sequence

_MOST = 512
"""Characters of a header of some later version that are looked at."""

_FIELDS = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KNOWN_FLAGS = 0x03
"""`sampled`, and `random` of level 2; others are not passed on."""


def traceparent_of(given: Sequence[str]) -> str | None:
    """Return the header as version 00 has it; None: there is none, several, or a malformed one."""
    if len(given) != 1 or len(given[0]) > _MOST:
        return None
    found = _FIELDS.fullmatch(given[0])
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return f"00-{trace_id}-{parent_id}-{int(flags, 16) & _KNOWN_FLAGS:02x}"
