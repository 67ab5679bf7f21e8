"""PostgreSQL's protocol as far as it takes to name each exchange and to see what came of it.

An exchange is what a client sends up to Sync or Query, and the answer up to ReadyForQuery. Its name
is made of the tables that its SQL touches and of the states among its parameters.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.task import FINAL, State
from tests.faults.lab.points import Mortal, Side, Watch

_STATES = frozenset(State)
_TOUCHED = re.compile(r'(?<!FOR )\b(INSERT INTO|UPDATE|DELETE FROM|FROM|JOIN)\s+"?(\w+)"?')
_WRITES = frozenset({"INSERT INTO", "UPDATE", "DELETE FROM"})
_ROWS = re.compile(rb"(\d+)\0$")
_HEAD = 5
"""Bytes: a message's kind and its length, which does not count the kind."""


def described(sql: str, parameters: list[bytes], tables: frozenset[str]) -> str | None:
    """Name a statement; None: it touches none of the tables."""
    touched = [(verb, table) for verb, table in _TOUCHED.findall(sql) if table in tables]
    if not touched:
        return None
    writes = dict.fromkeys(
        f"{verb.split()[0]} {table}" for verb, table in touched if verb in _WRITES
    )
    read = f"{'LOCK' if 'FOR UPDATE' in sql else 'SELECT'} {touched[0][1]}"
    return ", ".join(writes or [read]) + _states(parameters)


def _states(parameters: list[bytes]) -> str:
    """Name the states among the parameters; the list of those at rest has no order of its own."""
    texts = [value.decode(errors="replace") for value in parameters]
    for at in range(len(texts)):
        if set(texts[at : at + len(FINAL)]) == FINAL:
            del texts[at : at + len(FINAL)]
    states = dict.fromkeys(text for text in texts if text in _STATES)
    return f" ({' → '.join(states)})" if states else ""


def parameters(bind: bytes) -> list[bytes]:
    """Read the values of a Bind message's body, NULLs left out."""
    at = bind.index(0, bind.index(0) + 1) + 1
    (formats,) = struct.unpack_from("!H", bind, at)
    at += 2 + 2 * formats
    (count,) = struct.unpack_from("!H", bind, at)
    at += 2
    values = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", bind, at)
        at += 4
        if length >= 0:
            values.append(bind[at : at + length])
            at += length
    return values


def texts(body: bytes, count: int) -> list[str]:
    """Read the first zero-terminated texts of a message's body."""
    return [part.decode(errors="replace") for part in body.split(b"\0", count)[:count]]


class Messages:
    """Cuts a stream into whole messages; `bare`: the first one has a length and no kind."""

    def __init__(self, *, bare: bool) -> None:
        self._bare = bare
        self._rest = b""

    def cut(self, chunk: bytes) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield kind, body and the bytes of each message that is whole by now."""
        self._rest += chunk
        while True:
            head = _HEAD - 1 if self._bare else _HEAD
            if len(self._rest) < head:
                return
            (length,) = struct.unpack_from("!I", self._rest, head - 4)
            end = head - 4 + length
            if len(self._rest) < end:
                return
            message, self._rest = self._rest[:end], self._rest[end:]
            kind = "" if self._bare else chr(message[0])
            self._bare = False
            yield kind, message[head:], message


@dataclass(slots=True)
class Exchange:
    """What is under way: `name` of None is nothing that counts."""

    name: str | None
    ends: bool = False
    """It ends a transaction."""
    rows: int = 0
    failed: bool = False


class Session:
    """One connection. Numbers its exchanges, and holds each answer until it is whole."""

    def __init__(self, watch: Watch, owner: Mortal, tables: frozenset[str]) -> None:
        self._watch = watch
        self._owner = owner
        self._tables = tables
        self._there = Messages(bare=True)
        self._back = Messages(bare=False)
        self._statements: dict[str, str] = {}
        self._bound: str | None = None
        self._done: list[str] = []
        """What the transaction has done so far."""
        self._exchange: Exchange | None = None
        self._held = bytearray()

    def outgoing(self, chunk: bytes) -> bytes:
        passed = bytearray()
        for kind, body, message in self._there.cut(chunk):
            self._read(kind, body)
            passed += message
        return bytes(passed)

    def _read(self, kind: str, body: bytes) -> None:
        match kind:
            case "P":
                name, sql = texts(body, 2)
                self._statements[name] = sql
            case "B":
                sql = self._statements.get(texts(body, 2)[1], "")
                self._bound = described(sql, parameters(body), self._tables)
            case "S":
                self._begin(Exchange(self._bound))
                self._bound = None
            case "Q":
                self._begin(self._simple(*texts(body, 1)))
            case _:
                pass

    def _simple(self, sql: str) -> Exchange:
        verb = re.split(r"\W", sql.strip().upper(), maxsplit=1)[0]
        if verb == "COMMIT":
            done = "; ".join(self._done)
            return Exchange(f"COMMIT of {done}" if done else None, ends=True)
        if verb in {"BEGIN", "ROLLBACK"}:
            return Exchange(None, ends=True)
        return Exchange(described(sql, [], self._tables))

    def _begin(self, exchange: Exchange) -> None:
        if exchange.name:
            self._watch.reached(Side.BEFORE, exchange.name, self._owner)
        self._exchange = exchange

    def incoming(self, chunk: bytes) -> bytes:
        passed = bytearray()
        for kind, body, message in self._back.cut(chunk):
            self._held += message
            self._look(kind, body)
            if self._exchange is None:
                passed += self._held
                self._held.clear()
        return bytes(passed)

    def rest(self) -> bytes:
        """Return what was held when the server hung up: its last words."""
        return bytes(self._held)

    def _look(self, kind: str, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        match kind:
            case "C":
                found = _ROWS.search(body)
                exchange.rows += int(found[1]) if found else 0
            case "E":
                exchange.failed = True
            case "Z":
                self._end(exchange)
                self._exchange = None
            case _:
                pass

    def _end(self, exchange: Exchange) -> None:
        if exchange.ends:
            self._done.clear()
        elif exchange.name and exchange.rows:
            self._done.append(exchange.name)
        counts = exchange.ends or exchange.rows
        if exchange.name and counts and not exchange.failed:
            self._watch.reached(Side.AFTER, exchange.name, self._owner)
