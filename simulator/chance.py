"""What happens to the next creates: by request, and by chance."""

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, repeat

from simulator.behaviour import AS_USUAL, Behaviour
from simulator.choices import Choice, Chosen, FaultRate, choose
from simulator.faults import Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of one create."""

    behaviour: Behaviour = AS_USUAL
    faults: Choice = field(default_factory=dict)

    def fault(self, kind: Kind) -> str | None:
        """Name the fault of this kind."""
        chosen = self.faults.get(kind)
        return chosen.name if chosen else None


class RandomFaults:
    """Faults by chance. Each kind has its own seeded numbers, one drawn for every create."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random: dict[Kind, random.Random] = {}
        self._chances: dict[Kind, list[tuple[float, Chosen]]] = {}
        self.rates: Mapping[str, FaultRate] = {}
        self.reset()

    def reset(self) -> None:
        """Start the same random numbers again; the rates stay."""
        self._random = {kind: random.Random(f"{self._seed}/{kind}") for kind in Kind}  # noqa: S311  # repeatable, no secret

    def set(self, rates: Mapping[str, FaultRate]) -> None:
        """Replace all rates; raises ValueError, and changes nothing, where they make no sense."""
        chances: dict[Kind, list[tuple[float, Chosen]]] = {kind: [] for kind in Kind}
        for name, rate in rates.items():
            chosen = choose(name, rate)
            chances[chosen.fault.kind].append((rate.rate, chosen))
        for kind, rows in chances.items():
            if math.fsum(rate for rate, _ in rows) > 1:
                message = f"the rates of all {kind} faults together exceed 1"
                raise ValueError(message)
        self._chances = chances
        self.rates = dict(rates)

    def draw(self) -> Choice:
        drawn = ((kind, self._drawn(kind)) for kind in Kind)
        return {kind: chosen for kind, chosen in drawn if chosen}

    def _drawn(self, kind: Kind) -> Chosen | None:
        """Draw once for all faults of a kind: each then has exactly its rate."""
        number = self._random[kind].random()
        rows = self._chances.get(kind, [])
        bounds = accumulate(rate for rate, _ in rows)
        hits = (chosen for bound, (_, chosen) in zip(bounds, rows, strict=True) if number < bound)
        return next(hits, None)


class Plans:
    """Has a plan for each create: what was requested for it, else what chance decides."""

    def __init__(self, random_faults: RandomFaults) -> None:
        self._random_faults = random_faults
        self._upcoming: deque[Behaviour] = deque()

    def expect(self, behaviour: Behaviour, count: int) -> None:
        """Treat the next `count` creates so, after those that have a behaviour already."""
        self._upcoming.extend(repeat(behaviour, count))

    def take(self) -> Plan:
        """Decide about one create. Chance always draws, so that requests do not shift it."""
        drawn = self._random_faults.draw()
        behaviour = self._upcoming.popleft() if self._upcoming else AS_USUAL
        return Plan(behaviour, drawn if behaviour.fault is None else behaviour.fault)

    def give_back(self, plan: Plan) -> None:
        """Keep the behaviour of a create that was not accepted for the next one.

        Unless it has a create fault: that is about the create itself, which has happened.
        """
        if plan.behaviour is not AS_USUAL and Kind.CREATE not in (plan.behaviour.fault or {}):
            self._upcoming.appendleft(plan.behaviour)

    def reset(self) -> None:
        """Drop what was requested, and start the random numbers again."""
        self._upcoming.clear()
        self._random_faults.reset()
