"""Why tasks fail, as kie.ai words it, and the faults that fix it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a task fails, as kie.ai words it."""

    code: str | int | None
    message: str | None


TIMEOUT = Failure(code="524", message="generate task timeout.")

FAILURES: Mapping[str, Failure] = {
    "callback-general-reason": Failure(
        code="1501", message="Content review failed, please change the prompt."
    ),
    "result-timeout": TIMEOUT,
    "result-timeout-then-success": TIMEOUT,
    "result-withdrawn": Failure(code="500", message="Internal server error"),
}
"""The reasons by fault, whatever reason the create was to have."""
