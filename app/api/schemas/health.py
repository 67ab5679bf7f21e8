"""The answers of the probes."""

from typing import Literal

from app.api.schemas.answers import AnswerBody


class Liveness(AnswerBody):
    """The process answers."""

    status: Literal["ok"]
    service: Literal["kie-gateway"]


class Readiness(AnswerBody):
    """Each thing looked at: "ok", or what is wrong with it.

    `admission` shows the account's pause or hold, with which the process is fit all the same.
    """

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
