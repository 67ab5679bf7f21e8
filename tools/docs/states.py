"""The states of a task as a picture and a page, made from the table of moves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from app.domain.task import ARROWS, FINAL, State

Move = tuple[State, State]
Point = tuple[float, float]

MEANINGS: Mapping[State, str] = {
    State.QUEUED: "accepted, not sent yet; `hold_reason` says why it waits",
    State.SUBMITTING: "a create is on its way to kie.ai",
    State.UNCONFIRMED: "sent, and the answer was lost; never sent again by itself",
    State.RUNNING: "kie.ai has it",
    State.EXPIRED: "the gateway stopped asking; a late report still settles it",
    State.SUCCEEDED: "kie.ai finished it: `result`, `result_urls`",
    State.FAILED: "it did not work out: `fail_code`, `fail_message`, `fail_source`",
    State.CANCELED: "you canceled it while it was queued",
}

_REFUSED_BEFORE = "an earlier create, believed refused, had been taken after all"
_LATE = "a late report of kie.ai"
_RECORD = "kie.ai's record contradicts a callback, or takes a failure back"

USUAL: Mapping[Move, str] = {
    (State.QUEUED, State.SUBMITTING): "its turn has come",
    (State.QUEUED, State.CANCELED): "you cancel it",
    (State.QUEUED, State.FAILED): "`submit_within` is over, or an operator ends it",
    (State.SUBMITTING, State.RUNNING): "kie.ai takes it",
    (State.SUBMITTING, State.QUEUED): "proved not created: it is sent again later",
    (State.SUBMITTING, State.UNCONFIRMED): "the answer is lost",
    (State.SUBMITTING, State.SUCCEEDED): "the callback is faster than the answer",
    (State.SUBMITTING, State.FAILED): "kie.ai refuses it for good",
    (State.UNCONFIRMED, State.RUNNING): "a callback shows that kie.ai has it",
    (State.UNCONFIRMED, State.SUCCEEDED): "a callback reports its end",
    (State.UNCONFIRMED, State.FAILED): "a callback reports its end, or an operator ends it",
    (State.UNCONFIRMED, State.EXPIRED): "nothing is heard of it in time",
    (State.RUNNING, State.SUCCEEDED): "kie.ai reports success",
    (State.RUNNING, State.FAILED): "kie.ai reports failure",
    (State.RUNNING, State.EXPIRED): "nothing is heard of it in time",
}
"""Why a task makes each move that is part of its usual life."""

LATE: Mapping[Move, str] = {
    (State.QUEUED, State.UNCONFIRMED): _REFUSED_BEFORE,
    (State.QUEUED, State.RUNNING): _REFUSED_BEFORE,
    (State.QUEUED, State.SUCCEEDED): _REFUSED_BEFORE,
    (State.UNCONFIRMED, State.QUEUED): "proof comes late that it was not created",
    (State.EXPIRED, State.SUCCEEDED): _LATE,
    (State.EXPIRED, State.FAILED): _LATE,
    (State.CANCELED, State.SUCCEEDED): _REFUSED_BEFORE,
    (State.CANCELED, State.FAILED): _REFUSED_BEFORE,
    (State.FAILED, State.SUCCEEDED): _RECORD,
    (State.FAILED, State.FAILED): "kie.ai's own failure replaces one that the gateway declared",
    (State.SUCCEEDED, State.FAILED): _RECORD,
}
"""The same of moves that need late evidence; they are rare."""

_WIDTH, _HEIGHT = 1000, 560
_NODE_WIDTH, _NODE_HEIGHT = 136, 46

_PLACES: Mapping[State, Point] = {
    State.QUEUED: (100, 250),
    State.SUBMITTING: (360, 250),
    State.UNCONFIRMED: (500, 80),
    State.RUNNING: (640, 250),
    State.SUCCEEDED: (900, 250),
    State.CANCELED: (100, 440),
    State.FAILED: (500, 440),
    State.EXPIRED: (780, 440),
}
"""The middle of each state's box."""

_BENDS: Mapping[Move, float] = {
    (State.QUEUED, State.SUBMITTING): 14,
    (State.SUBMITTING, State.QUEUED): 14,
    (State.QUEUED, State.UNCONFIRMED): 40,
    (State.UNCONFIRMED, State.QUEUED): -12,
    (State.QUEUED, State.RUNNING): -110,
    (State.QUEUED, State.SUCCEEDED): 225,
    (State.SUBMITTING, State.SUCCEEDED): -105,
    (State.UNCONFIRMED, State.EXPIRED): 100,
    (State.UNCONFIRMED, State.SUCCEEDED): 40,
    (State.CANCELED, State.SUCCEEDED): -158,
    (State.FAILED, State.SUCCEEDED): -8,
    (State.SUCCEEDED, State.FAILED): 42,
    (State.EXPIRED, State.SUCCEEDED): -14,
}
"""How far an arrow bends to the left of its way, so that no two lie on each other."""

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
  role="img" aria-labelledby="t d">
<title id="t">The states of a task</title>
<desc id="d">{described}</desc>
<style>
svg {{ font: 15px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; background: #fff }}
path {{ fill: none; stroke: #2f5d8c; stroke-width: 2 }}
path.late {{ stroke: #9a9a9a; stroke-width: 1.3; stroke-dasharray: 6 5 }}
marker path {{ fill: #2f5d8c; stroke: none }}
marker.late path {{ fill: #9a9a9a; stroke: none }}
rect {{ fill: #eaf1f8; stroke: #2f5d8c; stroke-width: 1.6 }}
rect.final {{ fill: #f3f3ee; stroke: #55554e; stroke-width: 3 }}
text {{ fill: #1c1c1a; text-anchor: middle }}
text.key {{ text-anchor: start; font-size: 13px }}
</style>
<defs>
<marker id="usual" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"
  orient="auto"><path d="M0 0L10 5L0 10z"/></marker>
<marker id="late" class="late" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9"
  markerHeight="9" orient="auto"><path class="late" d="M0 0L10 5L0 10z"/></marker>
</defs>
<rect width="{width}" height="{height}" style="fill: #fff; stroke: none"/>
{arrows}
{nodes}
<path d="M20 540H60" marker-end="url(#usual)"/><text class="key" x="70" y="545">usual</text>
<path class="late" d="M130 540H170" marker-end="url(#late)"/>
<text class="key" x="180" y="545">late evidence, rare</text>
<text class="key" x="360" y="545">thick frame: final state</text>
</svg>
"""


@dataclass(frozen=True, slots=True)
class _Curve:
    """A quadratic Bézier curve."""

    start: Point
    control: Point
    end: Point

    def at(self, t: float) -> Point:
        x, y = (
            (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c
            for a, b, c in zip(self.start, self.control, self.end, strict=True)
        )
        return x, y

    def between(self, first: float, last: float) -> "_Curve":
        """Cut out a part of it."""
        x, y = (
            (1 - first) * (1 - last) * a + (first + last - 2 * first * last) * b + first * last * c
            for a, b, c in zip(self.start, self.control, self.end, strict=True)
        )
        return _Curve(self.at(first), (x, y), self.at(last))


def moves() -> Iterator[Move]:
    """Walk the table in the order of its states."""
    order = list(State)
    for state in State:
        for target in sorted(ARROWS[state], key=order.index):
            yield state, target


def states_picture() -> str:
    described = "; ".join(f"{state} to {target}" for state, target in moves())
    return _SVG.format(
        width=_WIDTH,
        height=_HEIGHT,
        described=described,
        # The rare ones first: the usual ones are drawn over them.
        arrows="\n".join(_arrow(one) for one in sorted(moves(), key=lambda one: one in USUAL)),
        nodes="\n".join(_node(state) for state in State),
    )


def _node(state: State) -> str:
    x, y = _PLACES[state]
    left, top = x - _NODE_WIDTH / 2, y - _NODE_HEIGHT / 2
    kind = ' class="final"' if state in FINAL else ""
    return (
        f'<g><title>{escape(MEANINGS[state])}</title><rect{kind} x="{left:g}" y="{top:g}" '
        f'width="{_NODE_WIDTH}" height="{_NODE_HEIGHT}" rx="8"/>'
        f'<text x="{x:g}" y="{y + 5:g}">{state}</text></g>'
    )


def _arrow(move: Move) -> str:
    kind, reason = ("usual", USUAL[move]) if move in USUAL else ("late", LATE[move])
    shown = "" if kind == "usual" else ' class="late"'
    title = f"<title>{move[0]} → {move[1]}: {escape(reason)}</title>"
    return f'<path{shown} d="{_way(move)}" marker-end="url(#{kind})">{title}</path>'


def _way(move: Move) -> str:
    source, target = (_PLACES[state] for state in move)
    if source == target:
        x, y = source[0], source[1] + _NODE_HEIGHT / 2
        return f"M{x - 20:g} {y:g}C{x - 45:g} {y + 28:g} {x + 45:g} {y + 28:g} {x + 20:g} {y + 2:g}"
    curve = _visible(_curve(source, target, _BENDS.get(move, 0)), source, target)
    parts = (f"{x:.0f} {y:.0f}" for x, y in (curve.start, curve.control, curve.end))
    return "M{}Q{} {}".format(*parts)


def _curve(start: Point, end: Point, bend: float) -> _Curve:
    """Bend a line to the left of its way by `bend`, at its middle."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = (across**2 + down**2) ** 0.5
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    return _Curve(start, (x + 2 * bend * down / length, y - 2 * bend * across / length), end)


def _visible(curve: _Curve, source: Point, target: Point) -> _Curve:
    """Cut off what lies in the boxes."""
    steps = [step / 400 for step in range(401)]
    outside = [
        t for t in steps if not (_covers(source, curve.at(t)) or _covers(target, curve.at(t)))
    ]
    return curve.between(outside[0], outside[-1])


def _covers(box: Point, point: Point) -> bool:
    return (
        abs(point[0] - box[0]) <= _NODE_WIDTH / 2 + 1
        and abs(point[1] - box[1]) <= _NODE_HEIGHT / 2 + 1
    )


_PAGE = """\
# States of a task

![The states of a task and the moves between them](states.svg)

| state | meaning |
|---|---|
{meanings}
**Final states** are {final}: waits and streams end there, `finished_at` is set, a webhook is sent.
They are drawn with a thick frame. Late evidence of kie.ai may still correct some of them, and then
you are notified again: keep the body with the highest `version` ([receiving.md](receiving.md)).

## Usual moves

| from | to | when |
|---|---|---|
{usual}
## Moves by late evidence

Rare, and dashed in the picture. An end that kie.ai's own record vouches for never changes
([decision 2](decisions/0002-states.md), [decision 16](decisions/0016-evidence.md)).

| from | to | when |
|---|---|---|
{late}
Picture and page are made from the code's table of moves: `make docs`.
"""


def states_page() -> str:
    return _PAGE.format(
        meanings="".join(f"| `{state}` | {MEANINGS[state]} |\n" for state in State),
        final=", ".join(f"`{state}`" for state in State if state in FINAL),
        usual=_table(USUAL),
        late=_table(LATE),
    )


def _table(reasons: Mapping[Move, str]) -> str:
    return "".join(
        f"| `{move[0]}` | `{move[1]}` | {reasons[move]} |\n" for move in moves() if move in reasons
    )
