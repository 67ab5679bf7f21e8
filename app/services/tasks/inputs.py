"""Files that inputs name: known and alive when a task is created, and a URL when it is sent.

The input stays as it was given. What a task names is looked up after its claim and before its
create, outside of any transaction; whether it may still be sent is asked last, as for every create.
"""

from collections.abc import Awaitable, Mapping
from typing import Protocol
from uuid import UUID

import structlog

from app.domain.draft import Draft
from app.domain.errors import GatewayError, KieNotAnsweringError
from app.domain.exact_json import Verbatim
from app.domain.file_errors import FileExpiredError
from app.domain.references import (
    SCHEME,
    Path,
    flaw,
    flawed,
    named_in,
    references,
    replaced,
)
from app.domain.submission import Fault, Refused, Unsent
from app.domain.task import FailCode
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Connection, Database
from app.store.files import uploads

RUN = 3600.0
"""Seconds that a file should outlive the time in the queue: kie.ai fetches it while the task runs.
"""
LEAST = 120.0
"""Seconds that it has to live when a task is sent."""

log = structlog.get_logger(__name__)


class Renew(Protocol):
    """Uploads a file again, from a copy."""

    def __call__(self, client_id: UUID, file_id: UUID, *, lasting: float) -> Awaitable[str]:
        """Return a URL that is good for so many seconds; raises `GatewayError`."""


class Inputs:
    """Looks up what inputs name."""

    def __init__(self, database: Database, working: Database, renew: Renew) -> None:
        self._database = database
        self._working = working
        self._renew = renew

    async def prepare(
        self, client_id: UUID, draft: Draft, submit_within: float
    ) -> Mapping[Path, UUID]:
        """Return the files that a draft names, by their places; renew those that expire too soon.

        Raises `InvalidRequestError` for what only looks like a reference. What cannot be renewed is
        refused by `require`, and only where a task is stored: a repeated create has its answer.
        """
        named = references(draft.input)
        if not named:
            return named
        ids = set(named.values())
        async with self._database.read(client_id) as connection:
            found = await uploads.named_files(connection, client_id=client_id, ids=ids)
        lasting = submit_within + RUN
        for file_id, row in found.items():
            if row["left"] < lasting and row["object_name"] is not None:
                try:
                    await self._renew(client_id, file_id, lasting=lasting)
                except GatewayError as error:
                    log.warning("input.not_renewed", file_id=str(file_id), error=error.code)
        return named

    async def require(
        self, connection: Connection, client_id: UUID, named: Mapping[Path, UUID]
    ) -> None:
        """Raise unless all files are the client's and alive; the caller's transaction ends then.

        Raises `InvalidRequestError`, `FileExpiredError`, and `KieNotAnsweringError` for one that
        could be uploaded again, and was not.
        """
        ids = set(named.values())
        found = await uploads.named_files(connection, client_id=client_id, ids=ids)
        unknown = [
            flaw(path, "should be the id of a file of yours")
            for path, file_id in named.items()
            if file_id not in found
        ]
        if unknown:
            raise flawed(unknown)
        expired = {
            path: found[file_id]
            for path, file_id in named.items()
            if found[file_id]["left"] < LEAST
        }
        if not expired:
            return
        if all(row["object_name"] is not None for row in expired.values()):
            detail = "A file has expired, and it could not be uploaded again now. Try again later."
            raise KieNotAnsweringError(detail)
        refused = flawed([flaw(path, "has expired; upload the file again") for path in expired])
        raise FileExpiredError(refused.detail, refused.flaws)

    async def resolved(self, claimed: ClaimedTask) -> Verbatim | Refused | Unsent:
        """Return a claimed task's input as kie.ai is to get it, or why it is not sent.

        Never raises: nothing was sent yet, and the outcome has to say so.
        """
        if f'"{SCHEME}' not in claimed.input.encoded_json:
            return claimed.input
        try:
            return await self._with_urls(claimed)
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing was sent
            log.warning("input.unresolved", task_id=str(claimed.id), error=type(error).__name__)
            return Unsent(reason="a file that it names could not be looked up", late=True)

    async def _with_urls(self, claimed: ClaimedTask) -> Verbatim | Refused:
        ids = named_in(claimed.input)
        async with self._working.read() as connection:
            found = await uploads.named_files(connection, client_id=claimed.client_id, ids=ids)
        urls: dict[UUID, str] = {}
        for file_id in ids:
            row = found.get(file_id)
            if row is None or (row["left"] < LEAST and row["object_name"] is None):
                message = f"The file {SCHEME}{file_id} has expired; the task was not sent."
                return Refused(fault=Fault.FILE, code=FailCode.FILE_EXPIRED, message=message)
            urls[file_id] = row["url"]
            if row["left"] < LEAST:
                urls[file_id] = await self._renew(claimed.client_id, file_id, lasting=LEAST)
        return replaced(claimed.input, urls)
