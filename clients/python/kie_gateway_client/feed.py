"""Events as they come: one stream, however often it breaks off."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kie_gateway_client.errors import UnexpectedAnswer
from kie_gateway_client.exact import NotJSONError, parse_object
from kie_gateway_client.reading import Calling, Id, rows
from kie_gateway_client.shapes import EVENT, TASK
from kie_gateway_client.steps import Answer, Call, Item, Items, Lost, Request, Sleep, opened, read
from kie_gateway_client.terms import OK, Tries
from kie_gateway_client.words import FINAL

if TYPE_CHECKING:
    from kie_gateway_client.models import Event

MAX_EVENT = 2**20
"""Bytes of one event; the gateway's have a few hundred."""
PAUSE = 0.5
"""Seconds before a stream that ended in good order is opened again."""
LASTED = 5.0
"""Seconds after which a stream that breaks off counts as one that was there."""
EVENT_STREAM = "text/event-stream"


class FeedCalls(Calling):
    """Calls about events."""

    def events(self, task_id: Id | None = None, *, after: str | None = None) -> "Items[Event]":
        """Iterate over events as they happen: a task's until its end, else those of all tasks.

        Begins behind the event `after`, else with the first that is kept. A stream that breaks off
        is resumed behind the last event, for as long as the gateway is tried; then raises
        `Unavailable`. Raises `CursorLost` where the feed does not go on from there.
        """
        path = ("events",) if task_id is None else ("tasks", task_id, "events")
        tries = Tries(self.terms)
        while True:
            request = self._request(path, after)
            head = yield from opened(request)
            if not isinstance(head, Answer) or head.status != OK:
                yield Sleep(tries.pause(request, self.terms.error(head)))
                continue
            self._require_stream(head)
            began = self.terms.clock()
            last: dict[str, Any] = {}
            reader = StreamReader()
            while isinstance(piece := (yield from read()), bytes) and piece:
                for last in map(_event, reader.feed(piece)):
                    tries.succeeded()
                    after = last["id"]
                    yield Item(self.read(EVENT, last))
            if task_id is not None and (yield from self._is_over(task_id, last)):
                return
            if self.terms.clock() - began > LASTED:
                tries.succeeded()
            if isinstance(piece, Lost):
                yield Sleep(tries.pause(request, self.terms.error(piece)))
            else:
                yield Sleep(PAUSE)

    def _request(self, path: tuple[object, ...], after: str | None) -> Request:
        headers = {"Accept": EVENT_STREAM, **({"Last-Event-ID": after} if after else {})}
        return self.terms.request("GET", *path, headers=headers)

    def _require_stream(self, head: Answer) -> None:
        if not head.headers.get("content-type", "").startswith(EVENT_STREAM):
            raise self.terms.stranger(head.status)

    def _is_over(self, task_id: Id, last: Mapping[str, Any]) -> Call[bool]:
        """Tell whether a task's stream ended because the task did."""
        if last:
            return last["to_state"] in FINAL
        task = yield from self.raw(TASK, self.terms.request("GET", "tasks", task_id))
        return task["state"] in FINAL

    def past_events(self, task_id: Id | None = None, *, after: str | None = None) -> "Items[Event]":
        """Iterate over the events until now, oldest first; ends with the last."""
        path = ("events",) if task_id is None else ("tasks", task_id, "events")
        while True:
            request = self.terms.request("GET", *path, params={"after": after})
            page = yield from self.terms.document(request)
            found = rows(page)
            for raw in found:
                yield Item(self.read(EVENT, raw))
            if not found:
                return
            after = found[-1]["id"]


class StreamReader:
    """Reads `text/event-stream` piece by piece; comments and what it does not know it drops."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take a piece and give the data of each event that is whole.

        Raises `UnexpectedAnswer` for an event that does not end.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._bound(len(line))
            yield from self._line(line.removesuffix(b"\r"))
        self._bound(len(self._rest), keep=False)

    def _bound(self, more: int, *, keep: bool = True) -> None:
        size = self._size + more
        if size > MAX_EVENT:
            message = f"an event has more than {MAX_EVENT} bytes"
            raise UnexpectedAnswer(message)
        self._size = size if keep else self._size

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return
        data, self._data, self._size = b"\n".join(self._data), [], 0
        if data:
            yield data


def _event(data: bytes) -> dict[str, Any]:
    with suppress(NotJSONError):
        raw = parse_object(data)
        if EVENT.fits(raw):
            return raw
    message = "an event that is none of the gateway's"
    raise UnexpectedAnswer(message)
