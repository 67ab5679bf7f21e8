"""The answers of the probes."""

from typing import Literal

from pydantic import BaseModel


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    service: Literal["kie-gateway"]


class Readiness(BaseModel):
    """Each thing looked at: "ok", or what is wrong with it.

    `admission` shows the account's pause or hold, with which the process is fit all the same.
    """

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
