"""Messages are named by what they do, counted, and struck at once."""

import struct

import pytest

from tests.faults.lab.matrix import CALLBACK, COMMIT, NAMED_PAIRS, Pair, sampled, telling
from tests.faults.lab.points import Point, Side, StruckError, Watch, common
from tests.faults.lab.postgres import Session, described
from tests.faults.test_named_faults import MADE

TABLES = frozenset({"tasks", "task_events"})
CLAIM = """
WITH due AS (SELECT tasks.id FROM tasks WHERE tasks.state = 'queued' FOR UPDATE SKIP LOCKED),
moved AS (UPDATE tasks SET state=$1 FROM due WHERE tasks.id = due.id RETURNING tasks.id),
logged AS (INSERT INTO task_events (task_id) SELECT moved.id FROM moved) SELECT moved.id FROM moved
"""


class Process:
    """A process to be killed."""

    pid = 7
    killed = False

    def kill(self) -> None:
        self.killed = True


def _message(kind: str, body: bytes) -> bytes:
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


STARTUP = struct.pack("!II", 8, 196608)
READY = _message("Z", b"T")


def _query(sql: str) -> bytes:
    return _message("Q", sql.encode() + b"\0")


def _bound(sql: str, *values: bytes) -> bytes:
    parse = _message("P", b"s\0" + sql.encode() + b"\0\0\0")
    given = b"".join(struct.pack("!i", len(value)) + value for value in values)
    bind = struct.pack("!HH", 0, len(values)) + given + struct.pack("!H", 0)
    return (
        parse + _message("B", b"\0s\0" + bind) + _message("E", b"\0\0\0\0\0") + _message("S", b"")
    )


def _done(tag: str) -> bytes:
    return _message("C", tag.encode() + b"\0") + READY


@pytest.mark.parametrize(
    ("sql", "values", "name"),
    [
        (CLAIM, [b"submitting"], "UPDATE tasks, INSERT task_events (submitting)"),
        ("SELECT state FROM tasks WHERE id = $1 FOR UPDATE", [], "LOCK tasks"),
        ("SELECT state FROM tasks WHERE id = $1", [b"running away"], "SELECT tasks"),
        ("SELECT pg_notify($1, $2)", [], None),
        ("SELECT oid FROM pg_type", [], None),
    ],
)
def test_a_statement_is_named_by_what_it_touches(
    sql: str, values: list[bytes], name: str | None
) -> None:
    assert described(sql, values, TABLES) == name


def test_the_list_of_states_at_rest_is_no_part_of_the_name() -> None:
    rest = [b"failed", b"succeeded", b"expired", b"canceled"]
    one = described("UPDATE tasks SET state", [b"running", b"failed", *rest], TABLES)
    other = described("UPDATE tasks SET state", [b"running", b"failed", *rest[::-1]], TABLES)
    assert one == other == "UPDATE tasks (running → failed)"


def _work(session: Session) -> None:
    session.outgoing(STARTUP)
    session.incoming(READY)
    for sent, answered in (
        (_query("BEGIN ISOLATION LEVEL READ COMMITTED;"), _done("BEGIN")),
        (_bound("SELECT 1 FROM tasks"), _done("SELECT 0")),
        (_bound(CLAIM, b"submitting"), _done("SELECT 1")),
        (_query("COMMIT;"), _done("COMMIT")),
    ):
        assert session.outgoing(sent) == sent
        assert session.incoming(answered[:3]) == b""
        assert session.incoming(answered[3:]) == answered


def test_exchanges_are_counted_on_both_sides_where_they_did_something() -> None:
    watch = Watch()
    _work(Session(watch, Process(), TABLES))
    moved = "UPDATE tasks, INSERT task_events (submitting)"
    assert watch.seen == [
        Point("SELECT tasks", 1, Side.BEFORE),
        Point(moved, 1, Side.BEFORE),
        Point(moved, 1, Side.AFTER),
        Point(f"COMMIT of {moved}", 1, Side.BEFORE),
        Point(f"COMMIT of {moved}", 1, Side.AFTER),
    ]


@pytest.mark.parametrize("side", Side)
def test_the_process_dies_at_the_point(side: Side) -> None:
    watch, process = Watch(), Process()
    watch.begin(Point("COMMIT of UPDATE tasks, INSERT task_events (submitting)", 1, side))
    with pytest.raises(StruckError):
        _work(Session(watch, process, TABLES))
    assert process.killed
    assert [strike.pid for strike in watch.strikes] == [7]


def test_what_not_every_run_has_and_chatter_are_no_points() -> None:
    first, second, third = (Point(name, 1, Side.AFTER) for name in ("a", "b", "c"))
    runs = [[first, second, third], [third, first]]
    assert common(runs, chatter={(Side.AFTER, "c")}) == [first]


def test_a_sample_has_every_kind_and_repeats_itself() -> None:
    points = [Point(what, number, Side.AFTER) for what in ("COMMIT", "b") for number in range(5)]
    chosen = sampled(points, seed=1, each=2)
    assert chosen == sampled(points, seed=1, each=2)
    assert sorted(point.what for point in chosen) == ["COMMIT", "COMMIT", "b", "b"]
    told = telling(points, seed=1, others=1)
    assert sum(point.what == "COMMIT" for point in told) == 5
    assert len(told) == 6


def test_a_pair_finds_its_point() -> None:
    pair = Pair(("callback-early",), CALLBACK, COMMIT, Side.AFTER)
    points = [
        Point("COMMIT of a", 1, Side.AFTER),
        Point(CALLBACK, 1, Side.BEFORE),
        Point("COMMIT of b", 1, Side.BEFORE),
        Point("COMMIT of b", 1, Side.AFTER),
    ]
    assert pair.point(points) == points[-1]
    with pytest.raises(LookupError):
        pair.point(points[:1])


def test_pairs_name_faults_that_there_are_and_are_each_named_once() -> None:
    names = [str(pair) for pair in NAMED_PAIRS]
    assert len(set(names)) == len(names)
    assert {fault for pair in NAMED_PAIRS for fault in pair.faults} <= set(MADE)
