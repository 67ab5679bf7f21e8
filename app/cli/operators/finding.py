"""What the doctor says of one thing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` is what to do, None where all is well."""

    name: str
    said: str
    remedy: str | None = None
