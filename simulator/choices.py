"""How faults are requested: by name, with parameters, and with a rate where chance decides."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from simulator.faults import FAULTS, Fault, Kind

DAY = 86_400.0

Seconds = Annotated[float, Field(ge=0, le=DAY, allow_inf_nan=False)]


class Parameters(BaseModel):
    """What may be said about one fault besides its name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seconds: Seconds | None = None
    times: Annotated[int, Field(ge=1, le=100)] = 1
    bytes: Annotated[int, Field(ge=1, le=1024 * 1024 * 1024)] = 1


class FaultRate(Parameters):
    """A fault that happens by chance; a mere number is its rate."""

    rate: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, given: Any) -> Any:  # noqa: ANN401  # JSON
        return {"rate": given} if isinstance(given, int | float) else given


FAULT_RATES = TypeAdapter(dict[str, FaultRate])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One fault as it is to happen to one create."""

    fault: Fault
    seconds: float | None = None
    """None: for ever."""
    times: int = 1
    bytes: int = 1

    @property
    def name(self) -> str:
        return self.fault.name


Choice = Mapping[Kind, Chosen]
"""What is to happen to one create: one fault of a kind at most."""


def choose(name: str, parameters: Parameters) -> Chosen:
    """Raise ValueError where there is no such fault, or it has no such parameter."""
    fault = _fault(name)
    given = {
        parameter: getattr(parameters, parameter)
        for parameter in parameters.model_fields_set & Parameters.model_fields.keys()
    }
    for parameter, value in given.items():
        _check(fault, parameter, value)
    return Chosen(fault=fault, **{**fault.defaults, **given})


def read_choice(given: object) -> Choice:
    """Read a name, a list of names, or an object of parameters by name; raises ValueError."""
    match given:
        case str():
            named: Mapping[str, object] = {given: {}}
        case list() if all(isinstance(name, str) for name in given):
            named = {name: {} for name in given}
        case dict():
            named = given
        case _:
            message = "give a fault's name, a list of names, or an object of parameters by name"
            raise ValueError(message)
    return combine(
        [choose(name, Parameters.model_validate(value)) for name, value in named.items()]
    )


def combine(chosen: Sequence[Chosen]) -> Choice:
    """Raise ValueError where two are of one kind."""
    choice = {each.fault.kind: each for each in chosen}
    if len(choice) < len(chosen):
        message = "one create can have one fault of each kind only"
        raise ValueError(message)
    return choice


def _fault(name: str) -> Fault:
    if name in FAULTS:
        return FAULTS[name]
    nearest = difflib.get_close_matches(name, FAULTS, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    message = f"there is no fault {name!r}{hint}"
    raise ValueError(message)


def _check(fault: Fault, parameter: str, value: object) -> None:
    if parameter not in fault.defaults:
        message = f"{fault.name!r} has no parameter {parameter!r}"
        raise ValueError(message)
    if value is None and fault.defaults[parameter] is not None:
        message = f"{fault.name!r} needs a number of {parameter}"
        raise ValueError(message)
