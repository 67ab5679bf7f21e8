"""Taking what the metadata of an erased task said out of the sums by day.

Its credits stay in the sums, as those of a task without metadata: groupings count it as what is
left of the total.
"""

from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.task import FINAL, Change
from app.domain.usage import ENDS, MAX_TEXT, METADATA, OTHER
from app.store.spend.folding import FOLDERS

_ENDS = tuple(end.value for end in ENDS)
_FINAL = ", ".join(f"'{state.value}'" for state in FINAL)
_BOOKING = ", ".join(f"'{kind.value}'" for kind in Change if kind is not Change.ARCHIVED)

_SUMS = (*_ENDS, "credits", "seconds")
_COUNTS = ", ".join(
    f"coalesce(sum(sign) FILTER (WHERE state = '{end}'), 0) AS {end}" for end in _ENDS
)
_LESS = ", ".join(f"usage_daily.{name} - share.{name} AS {name}" for name in _SUMS)
_BECOMES = ", ".join(f"{name} = rest.{name}" for name in _SUMS)
_MOST = f"greatest({', '.join(f'rest.{end}' for end in _ENDS)})"

_ID = bindparam("id", type_=Uuid)
_WAIT = text(
    f"SELECT id, pg_advisory_xact_lock({FOLDERS}) FROM tasks"  # noqa: S608  # our own number
    " WHERE id = :id AND booked AND metadata <> '{}'"
).bindparams(_ID)

_TAKE_OUT = text(
    f"""
WITH gone AS (
    SELECT client_id, model, metadata, credits_consumed, duration_seconds
    FROM tasks WHERE id = :id
), steps AS (
    SELECT (at AT TIME ZONE 'UTC')::date AS day, from_state, to_state FROM task_events
    WHERE task_id = :id AND to_state IN ({_FINAL}) AND kind IN ({_BOOKING})
), pending AS (
    SELECT usage_entries.* FROM usage_entries JOIN gone USING (client_id) WHERE task_id = :id
), changes (day, state, sign, credits, seconds) AS (
    SELECT day, to_state, 1, 0, 0 FROM steps
    UNION ALL SELECT day, from_state, -1, 0, 0 FROM steps
    UNION ALL SELECT (SELECT max(day) FROM steps), NULL, 0,
        coalesce(credits_consumed, 0), coalesce(duration_seconds, 0) FROM gone
    UNION ALL SELECT day, state, -1, -credits, -seconds FROM pending
    UNION ALL SELECT day, left_state, 1, left_credits, left_seconds FROM pending
), share AS (
    SELECT day, {_COUNTS}, sum(credits) AS credits, sum(seconds) AS seconds
    FROM changes GROUP BY day
), rest AS (
    SELECT usage_daily.ctid AS place, {_LESS}
    FROM gone CROSS JOIN share CROSS JOIN LATERAL jsonb_each_text(metadata) AS said (key, value)
    JOIN usage_daily ON usage_daily.client_id = gone.client_id AND usage_daily.day = share.day
        AND usage_daily.key = '{METADATA}' || said.key
        AND usage_daily.value = left(said.value, {MAX_TEXT})
        AND usage_daily.model = CASE WHEN EXISTS (
            SELECT FROM usage_daily AS own WHERE own.client_id = gone.client_id
            AND own.day = share.day AND own.model = left(gone.model, {MAX_TEXT})
        ) THEN left(gone.model, {MAX_TEXT}) ELSE '{OTHER}' END
), emptied AS (
    DELETE FROM usage_daily USING rest WHERE usage_daily.ctid = place AND {_MOST} <= 0
)
UPDATE usage_daily SET {_BECOMES} FROM rest WHERE usage_daily.ctid = place AND {_MOST} > 0
"""  # noqa: S608  # our own words
).bindparams(_ID)
"""By day: how the task counted, less what is not folded yet. Its history says how often and when it
ended; its credits count on the last of these days, on which it may have been corrected. A row of
which no task is left goes, whatever credits others' corrections left in it."""


async def forget_metadata(connection: AsyncConnection, task_id: UUID) -> None:
    """Take the values of a task's metadata out of usage; the task is locked, and still there.

    It waits for a folding under way, so it comes before anything that a folding could wait for.
    """
    if await connection.scalar(_WAIT, {"id": task_id}):
        await connection.execute(_TAKE_OUT, {"id": task_id})
