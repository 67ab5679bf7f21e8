"""What is in store for the creates to come: by order, and by chance."""

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, repeat

from simulator.behaviour import AS_USUAL, Behaviour
from simulator.choices import Choice, Chosen, Setting, choose
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


class Odds:
    """Faults by chance. Each kind has its own seeded luck, drawn for every create there is."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._luck: dict[Kind, random.Random] = {}
        self._chances: dict[Kind, list[tuple[float, Chosen]]] = {}
        self.settings: Mapping[str, Setting] = {}
        self.reset()

    def reset(self) -> None:
        """Begin the same luck anew; the rates stay."""
        self._luck = {kind: random.Random(f"{self._seed}/{kind}") for kind in Kind}  # noqa: S311  # repeatable, no secret

    def set(self, settings: Mapping[str, Setting]) -> None:
        """Replace all rates; raises ValueError, and changes nothing, where they make no sense."""
        chances: dict[Kind, list[tuple[float, Chosen]]] = {kind: [] for kind in Kind}
        for name, setting in settings.items():
            chosen = choose(name, setting)
            chances[chosen.fault.kind].append((setting.rate, chosen))
        for kind, rows in chances.items():
            if math.fsum(rate for rate, _ in rows) > 1:
                message = f"the rates of all {kind} faults together exceed 1"
                raise ValueError(message)
        self._chances = chances
        self.settings = dict(settings)

    def draw(self) -> Choice:
        drawn = ((kind, self._drawn(kind)) for kind in Kind)
        return {kind: chosen for kind, chosen in drawn if chosen}

    def _drawn(self, kind: Kind) -> Chosen | None:
        """Draw once for all faults of a kind: each then has exactly its rate."""
        number = self._luck[kind].random()
        rows = self._chances.get(kind, [])
        bounds = accumulate(rate for rate, _ in rows)
        hits = (chosen for bound, (_, chosen) in zip(bounds, rows, strict=True) if number < bound)
        return next(hits, None)


class Plans:
    """Has a plan for each create: what was ordered for it, else what chance says."""

    def __init__(self, odds: Odds) -> None:
        self._odds = odds
        self._upcoming: deque[Behaviour] = deque()

    def expect(self, behaviour: Behaviour, count: int) -> None:
        """Treat the next `count` creates so, after those already spoken for."""
        self._upcoming.extend(repeat(behaviour, count))

    def take(self) -> Plan:
        """Decide about one create. Chance is asked always, so that orders do not shift it."""
        drawn = self._odds.draw()
        behaviour = self._upcoming.popleft() if self._upcoming else AS_USUAL
        return Plan(behaviour, drawn if behaviour.fault is None else behaviour.fault)

    def give_back(self, plan: Plan) -> None:
        """Keep the order of a create that was not accepted for the next, unless that was ordered.

        A create fault is about the create itself, which has happened; the rest is about a task.
        """
        if plan.behaviour is not AS_USUAL and Kind.CREATE not in (plan.behaviour.fault or {}):
            self._upcoming.appendleft(plan.behaviour)

    def reset(self) -> None:
        """Nothing is ordered, and chance begins anew."""
        self._upcoming.clear()
        self._odds.reset()
