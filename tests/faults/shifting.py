"""How time passes for tasks and for the account: by shifting rows, never by the clock.

The loops are woken too: they sleep for longer than a test has patience.
"""


def waking(update: str, *topics: str) -> str:
    """Wake the loops where a statement has shifted a row."""
    return (
        f"WITH shifted AS ({update} RETURNING 1)"  # noqa: S608  # our own words
        f" SELECT pg_notify('kie_gateway', '{','.join(topics)}') FROM shifted LIMIT 1"
    )


ASK_NOW = "UPDATE tasks SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()"
"""Has the question asked at once that a task has for later."""

SKIP = """
UPDATE tasks SET due_at = clock_timestamp(),
  held_since = held_since - (due_at - clock_timestamp()),
  unreached_since = unreached_since - (due_at - clock_timestamp()),
  finished_at = finished_at - (due_at - clock_timestamp())
WHERE due_at > clock_timestamp()
"""
"""Skips the time until a task's next question. What is counted from an end, reported or settled,
has become older by as much: else questions of a later minute would be asked for ever."""

PROBE_NOW = tuple(
    waking(
        f"UPDATE {table} SET held_until = clock_timestamp() WHERE held_until > clock_timestamp()",  # noqa: S608  # our own names
        *("probe", "queue"),
    )
    for table in ("kie_account", "kie_breakers")
)
"""Ends the wait of each hold: the account's first, as the gateway locks them."""
