"""Which models there are: kie.ai refuses a create that names another; here it is only said."""

import logging
from collections.abc import Iterable
from difflib import get_close_matches

from simulator.bodies import UNSUPPORTED_MODEL, RefusedError

log = logging.getLogger("simulator")

KNOWN = frozenset(
    {
        *("google/nano-banana", "google/nano-banana-edit", "nano-banana-2", "nano-banana-pro"),
        *("bytedance/seedance-2", "bytedance/seedance-2-fast"),
        *("bytedance/seedream-v4-text-to-image", "gpt-image-2-text-to-image"),
        *("grok-imagine/text-to-image", "grok-imagine-image-2-0/text-to-image"),
        *("grok-imagine-image-2-0/segment-edit", "kling-2.6/motion-control", "kling-3.0/video"),
        *("wan/2-7-image", "z-image"),
    }
)
"""Models that were seen at kie.ai; it has more, and they change."""

WARNING = "X-Simulator-Warning"
"""The header of an answer to a create with a model that is not known."""


class Models:
    """Knows the names of models; `strict` refuses others, as kie.ai does."""

    def __init__(self, more: Iterable[str] = (), *, strict: bool = False) -> None:
        self.known = KNOWN | frozenset(more)
        self.strict = strict
        self._warned: set[str] = set()

    def check(self, model: str) -> str | None:
        """Return what to warn of, and log it once; raises `RefusedError` where it is strict."""
        if model in self.known:
            return None
        if self.strict:
            raise RefusedError(422, UNSUPPORTED_MODEL)
        warning = self._warning(model)
        if model not in self._warned:
            self._warned.add(model)
            log.warning("%s", warning)
        return warning

    def _warning(self, model: str) -> str:
        nearest = get_close_matches(model, self.known, n=1)
        meant = f" Did you mean {nearest[0]!r}?" if nearest else ""
        shown = model.encode("ascii", "backslashreplace").decode()[:200]
        return (
            f"{shown!r} is no model that the simulator knows; kie.ai refuses unknown ones with "
            f"code 422.{meant}"
        )
