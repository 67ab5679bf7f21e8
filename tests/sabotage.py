"""Breaks each promise in a copy of the project, one line at a time, and shows that tests notice.

`make sabotage` runs all; `python -m tests.sabotage NAME…` some, by their names or by the number of
the promise. `docs/promises.md` tells which
promise each breaks; `tests/test_promises.py` keeps the page and this table together.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.embedded import running

ROOT = Path(__file__).parents[1]
COPIED = ("app", "simulator", "migrations", "tests", "pyproject.toml", "alembic.ini", "docs")


@dataclass(frozen=True, slots=True)
class Sabotage:
    """`old`, which stands exactly once in `file`, becomes `new`; then some of `tests` must fail.

    `lab`, where there is one, must fail by itself too: a test of the fault lab.
    """

    promise: int
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    lab: str = ""

    @property
    def runs(self) -> tuple[tuple[str, ...], ...]:
        """The runs of tests that have to fail, each one."""
        return (self.tests, (self.lab,)) if self.lab else (self.tests,)


KNOWN_URL = "tests/services/tasks/test_known_url.py"

SABOTAGES = (
    Sabotage(
        1,
        "answer-uncommitted",
        "app/store/engine.py",
        "async with self._engine.begin() as connection:",
        "async with self._engine.connect() as connection:",
        ("tests/services/tasks/test_receive.py::test_the_pages_success_callback",),
    ),
    Sabotage(
        1,
        "deny-what-exists",
        "app/api/tasks.py",
        "return created.snapshot",
        "raise",
        ("tests/services/tasks/test_lost_commits.py",),
    ),
    Sabotage(
        1,
        "forget-the-key",
        "app/services/tasks/create.py",
        "idempotency_key=key,",
        "idempotency_key=None,",
        ("tests/services/tasks/test_submit.py::test_one_key_at_once_is_one_task",),
    ),
    Sabotage(
        2,
        "drop-the-unmatched",
        "app/services/tasks/intake.py",
        " raw is None or not is_kept(said, judgement):\n",
        " raw is None or standing is None:\n",
        ("tests/services/tasks/test_receive.py::test_for_an_unknown_task",),
    ),
    Sabotage(
        2,
        "tidy-the-bytes",
        "app/services/tasks/receive.py",
        "            body=body,",
        "            body=body.strip(),",
        ("tests/services/tasks/test_receive.py::test_the_raw_bytes_are_kept_exactly",),
    ),
    Sabotage(
        2,
        "keep-every-copy",
        "app/domain/keeping.py",
        "    if tally.same is not None:\n",
        "    if tally.same is None and tally.rows < 0:\n",
        (f"{KNOWN_URL}::test_the_same_again_is_counted_where_it_is_kept",),
    ),
    Sabotage(
        2,
        "full-is-full",
        "app/domain/keeping.py",
        "    if changes:\n        return Keep.WHOLE\n",
        "",
        (f"{KNOWN_URL}::test_a_flood_leaves_so_many_rows_and_then_a_number",),
    ),
    Sabotage(
        2,
        "a-url-is-for-ever",
        "app/services/tasks/receive.py",
        "            if await self._has_ended(connection, task_id):\n                return None\n",
        "",
        (f"{KNOWN_URL}::test_a_url_ends_some_time_after_its_task",),
    ),
    Sabotage(
        2,
        "give-up-at-once",
        "app/services/tasks/receive.py",
        "PATIENCE = 12.0",
        "PATIENCE = 0.0",
        ("tests/services/tasks/test_lost_commits.py",),
    ),
    Sabotage(
        3,
        "admit-unjudged",
        "app/services/account/admission.py",
        "if locked is None or not self._witness.vouches_for(locked):",
        "if locked is None:",
        (
            "tests/services/account/test_witness.py::test_an_admission_that_is_lost_stops_the_next_one",
        ),
    ),
    Sabotage(
        3,
        "forget-what-was-admitted",
        "app/store/account/admission.py",
        "counter=KieAccount.counter + 1,",
        "counter=KieAccount.counter,",
        ("tests/services/account/test_witness.py::test_an_admission_moves_the_counter_on",),
    ),
    Sabotage(
        3,
        "judge-alone",
        "app/domain/restore.py",
        '({"awaited": True}, Verdict.WAIT),',
        '({"awaited": None}, Verdict.WAIT),',
        (
            "tests/services/account/test_witness.py::test_all_that_live_are_heard_before_anything_is_sent",
        ),
    ),
    Sabotage(
        3,
        "believe-any-database",
        "app/domain/restore.py",
        "({}, Verdict.HOLD),",
        "({}, Verdict.ACCEPT),",
        (
            "tests/services/account/test_witness.py::test_a_fresh_process_holds_another_database_unless_one_remembers_it",
        ),
    ),
    Sabotage(
        3,
        "send-again",
        "app/store/tasks/sweep.py",
        "        state=State.UNCONFIRMED,\n        leased_until=None,\n        due_at=NOW,",
        "        state=State.QUEUED,\n        leased_until=None,\n        due_at=NOW,",
        ("tests/services/tasks/test_sweep.py",),
        lab="tests/faults/test_lab.py::test_killed_in_a_crowd",
    ),
    Sabotage(
        3,
        "send-what-is-known",
        "app/store/tasks/bulk.py",
        "        found.append(Task.kie_task_id.is_(None))",
        "        found.append(Task.kie_task_id.is_not_distinct_from(Task.kie_task_id))",
        ("tests/services/tasks/test_bulk.py::test_only_what_was_not_seen_at_kie_ai_is_sent_again",),
    ),
    Sabotage(
        3,
        "trust-the-transport",
        "app/kie/client.py",
        "    aiohttp.ConnectionTimeoutError,",
        "    aiohttp.ServerDisconnectedError,\n    aiohttp.ConnectionTimeoutError,",
        ("tests/kie/test_lost_answers.py", "tests/kie/test_client.py"),
    ),
    Sabotage(
        3,
        "any-words-refuse",
        "app/kie/refusals.py",
        "    if not said or _OF_A_TASK.search(said):\n",
        "    if not said:\n",
        ("tests/kie/test_refusals.py",),
    ),
    Sabotage(
        3,
        "any-attempt-may-speak",
        "app/domain/task.py",
        "return standing.attempt == attempt and standing.state in",
        "return standing.state in",
        ("tests/services/tasks/test_submit.py",),
    ),
    Sabotage(
        3,
        "forget-the-alleged-id",
        "app/services/tasks/intake.py",
        "        if judgement.alleged_id is not None:",
        "        if False:",
        ("tests/services/tasks/test_evidence.py",),
    ),
    Sabotage(
        3,
        "unfold-the-bomb",
        "app/kie/client.py",
        "        raise EncodedAnswerError\n",
        "        pass\n",
        ("tests/kie/test_bombs.py",),
    ),
    Sabotage(
        4,
        "wait-for-ever",
        "app/services/tasks/sweep.py",
        "        for state in over.states:",
        "        for state in ():",
        ("tests/services/tasks/test_sweep.py",),
        lab="tests/faults/test_lab.py::test_fault[create-closed-after-reading]",
    ),
    Sabotage(
        4,
        "fill-nothing",
        "app/domain/amendment.py",
        "    if is_empty(known.result):\n        return new",
        "    if is_empty(known.result):\n        return {}",
        ("tests/domain/test_amendment.py", "tests/domain/test_evidence.py"),
    ),
    Sabotage(
        4,
        "drop-what-comes-later",
        "app/services/tasks/intake.py",
        "        if judgement.amendment is not None:\n",
        "        if False:\n",
        ("tests/services/tasks/test_evidence.py",),
        lab="tests/faults/test_lab.py::test_fault[callback-without-credits]",
    ),
    Sabotage(
        4,
        "settle-the-empty",
        "app/domain/holding.py",
        "        return RESULT_WAIT\n",
        "        return 0.0\n",
        ("tests/services/tasks/test_evidence.py",),
    ),
    Sabotage(
        4,
        "believe-the-timeout",
        "app/domain/holding.py",
        "        return TURNAROUND\n",
        "        return 0.0\n",
        ("tests/services/tasks/test_evidence.py",),
    ),
    Sabotage(
        5,
        "last-word-wins",
        "app/domain/evidence.py",
        "    if not overturns(standing, target, source):",
        "    if False:",
        ("tests/services/tasks/test_receive.py",),
    ),
    Sabotage(
        5,
        "the-first-word-stays",
        "app/domain/task.py",
        "    return only_called_back or turned",
        "    return turned",
        ("tests/services/tasks/test_evidence.py",),
        lab="tests/faults/test_lab.py::test_fault[callback-forged-instead]",
    ),
    Sabotage(
        5,
        "never-compare-results",
        "app/domain/evidence.py",
        "    if found.disagrees:\n        return Judgement(verdict=Verdict.DISAGREED, poll=asks,",
        "    if False:\n        return Judgement(verdict=Verdict.DISAGREED, poll=asks,",
        ("tests/services/tasks/test_evidence.py",),
    ),
    Sabotage(
        5,
        "believe-whoever-calls",
        "app/wiring.py",
        "    return Confirm.AFTER if settings.kie_webhook_hmac_keys else Confirm.BEFORE",
        "    return Confirm.AFTER",
        ("tests/services/tasks/test_evidence.py",),
    ),
    Sabotage(
        5,
        "a-callback-has-the-last-word",
        "app/domain/evidence.py",
        "amend(known, report, wins=source is Source.QUERY)",
        "amend(known, report, wins=True)",
        ("tests/domain/test_evidence.py",),
    ),
    Sabotage(
        5,
        "our-word-is-final",
        "app/domain/task.py",
        "    return not vouched",
        "    return standing.state not in FINAL",
        ("tests/services/deliveries/test_deliver.py::test_every_rest_is_told_once",),
    ),
    Sabotage(
        6,
        "expire-in-silence",
        "app/services/tasks/lifecycle.py",
        'due_in=due_in, by="gateway")',
        'due_in=due_in, by="gateway", heard=False)',
        ("tests/services/deliveries/test_deliver.py::test_every_rest_is_told_once",),
        lab="tests/faults/test_lab.py::test_fault[create-closed-after-reading]",
    ),
    Sabotage(
        6,
        "one-spoils-all",
        "app/services/deliveries/outbox.py",
        "        except Exception as error:",
        "        except UnreadableRowError as error:",
        ("tests/services/deliveries/test_unrenderable.py::test_a_body_that_cannot_be_written",),
    ),
    Sabotage(
        6,
        "read-all-or-nothing",
        "app/store/deliveries/outbox.py",
        "    except _UNREADABLE as error:",
        "    except RecursionError as error:",
        ("tests/services/deliveries/test_unrenderable.py::test_a_row_that_cannot_be_read",),
    ),
    Sabotage(
        6,
        "by-the-back-door",
        "app/services/tasks/commands.py",
        "from app.store.tasks import polls, refreshes, rows\n",
        "from app.store.tasks import moves, polls, refreshes, rows\n",
        ("tests/test_house.py::test_the_rooms_import_each_other_only_as_the_contracts_allow",),
    ),
    Sabotage(
        6,
        "wake-before-the-commit",
        "app/services/tasks/lifecycle.py",
        "            collected = Consequences()\n            return",
        "            return",
        ("tests/services/tasks/test_lifecycle.py",),
    ),
    Sabotage(
        6,
        "another-id-each-time",
        "app/services/deliveries/deliver.py",
        "        message = webhook_id(delivery.id.hex)\n",
        '        message = webhook_id(f"{delivery.id.hex}{delivery.tries}")\n',
        ("tests/services/deliveries/test_deliver.py::test_the_promised_schedule_and_its_end",),
    ),
    Sabotage(
        6,
        "three-tries-will-do",
        "app/domain/delivery.py",
        "    if tries >= len(schedule):\n",
        "    if tries >= 3:\n",
        ("tests/services/deliveries/test_deliver.py::test_the_promised_schedule_and_its_end",),
    ),
    Sabotage(
        6,
        "any-answer-will-do",
        "app/domain/delivery.py",
        "200 <= status < 300:",
        "200 <= status < 600:",
        ("tests/domain/test_delivery.py",),
    ),
    Sabotage(
        6,
        "lease-for-ever",
        "app/store/deliveries/turns.py",
        "FREE = lease_is_free(Delivery)",
        "FREE = Delivery.leased_until.is_(None)",
        ("tests/services/deliveries/test_deliver.py::test_killed_between_send_and_settle",),
        lab="tests/faults/test_lab.py::test_killed",
    ),
    Sabotage(
        6,
        "one-host-takes-all",
        "app/store/deliveries/turns.py",
        "    turn = func.coalesce(of_host.c.all, 0) + func.row_number().over(",
        "    turn = func.row_number().over(",
        ("tests/store/deliveries/test_turns.py",),
    ),
    Sabotage(
        6,
        "pass-over-the-late",
        "app/store/tasks/feed.py",
        "    gaps = CASE WHEN is_proved THEN missing.gaps - turn.suspects ELSE missing.gaps END,\n",
        "    gaps = '{}',\n",
        ("tests/store/tasks/test_feed.py",),
    ),
    Sabotage(
        6,
        "forget-too-soon",
        "app/store/tasks/feed.py",
        "amount < :limit AND NOT turn.suspects_before BETWEEN",
        "amount < :limit OR NOT turn.suspects_before BETWEEN",
        ("tests/store/tasks/test_feed.py",),
    ),
    Sabotage(
        6,
        "two-may-number",
        "app/store/tasks/feed.py",
        "    WHERE holder = :holder OR holder IS NULL OR leased_until <= clock_timestamp()\n",
        "",
        ("tests/store/tasks/test_feed.py", "tests/services/tasks/test_numbering.py"),
    ),
    Sabotage(
        6,
        "any-cursor-will-do",
        "app/services/tasks/events.py",
        "            if not await feed.knows(connection, client_id, place):\n",
        "            if False:\n",
        ("tests/api/test_events.py", "tests/services/tasks/test_feed_restored.py"),
    ),
    Sabotage(
        6,
        "positions-alone",
        "app/store/tasks/feed.py",
        "row.token == place.token if row.token is not None",
        "True if row.token is not None",
        ("tests/store/tasks/test_feed.py", "tests/services/tasks/test_feed_restored.py"),
    ),
    Sabotage(
        6,
        "tidy-the-url",
        "app/outbound/target.py",
        "path=self.path, encoded=True)",
        "path=self.path, encoded=False)",
        ("tests/outbound/test_as_given.py",),
    ),
    Sabotage(
        6,
        "lose-the-status",
        "app/outbound/sender.py",
        "with suppress(*TROUBLE):",
        "with suppress():",
        ("tests/outbound/test_hostile.py",),
    ),
    Sabotage(
        6,
        "give-up-the-closed",
        "app/outbound/sender.py",
        "if call.peer is None or call.dialed or _has_begun(trouble):",
        "if trouble:",
        ("tests/outbound/test_reuse.py",),
    ),
    Sabotage(
        7,
        "never-empty",
        "app/domain/limits.py",
        "if full_in > WINDOW + _ROUNDING / rate:",
        "if full_in > math.inf:",
        ("tests/domain/test_limits.py",),
    ),
    Sabotage(
        7,
        "kept-for-ever",
        "app/api/holding.py",
        "    if do is not None:",
        "    if do is None:",
        ("tests/api/test_limits.py::test_streams_count_until_they_end_however_they_do",),
    ),
    Sabotage(
        7,
        "wait-for-nobody",
        "app/services/tasks/waiters.py",
        "ends = {closing} if given_up is None else {closing, given_up}",
        "ends = {closing}",
        ("tests/api/test_limits.py::test_waits_count_until_they_end_or_nobody_waits",),
    ),
    Sabotage(
        7,
        "one-holds-all",
        "app/domain/limits.py",
        "return max(1, self.max_held // 10)",
        "return self.max_held",
        ("tests/services/clients/test_limits.py",),
    ),
    Sabotage(
        7,
        "ask-each-time",
        "app/services/clients/limits.py",
        "self._over[digest] = (now + counted.retry_after, caller)",
        "self._over.pop(digest, None)",
        ("tests/services/clients/test_limits.py",),
    ),
    Sabotage(
        7,
        "free-at-once",
        "app/services/account/admission.py",
        "        window = self._limits.creates.window\n",
        "        window = 0.0\n",
        ("tests/faults/test_limits.py",),
        lab="tests/faults/test_lab.py::test_the_accounts_limits_hold_while_one_of_three_is_killed",
    ),
    Sabotage(
        7,
        "count-without-seats",
        "app/store/account/admission.py",
        "func.least(slots, free_seats, at_once)",
        "func.least(slots, at_once)",
        ("tests/store/account/test_admission.py",),
    ),
    Sabotage(
        7,
        "first-come",
        "app/store/account/admission.py",
        "        .values({ClientQueue.pass_: passed.c.after})",
        "        .values({ClientQueue.pass_: ClientQueue.pass_})",
        ("tests/store/account/test_admission.py",),
    ),
    Sabotage(
        7,
        "one-speaks-for-all",
        "app/domain/admission.py",
        "            and (alone or len(self.clients) >= SEVERAL)\n",
        "",
        ("tests/domain/test_admission.py", "tests/services/account/test_pairs.py"),
    ),
    Sabotage(
        7,
        "hold-everybody",
        "app/store/account/limits.py",
        "    (KieAccount.hold_client_id.is_(None), true()),\n    else_=~_OTHERS_WAIT,",
        "    else_=true(),",
        ("tests/store/account/test_condition.py", "tests/services/account/test_pairs.py"),
    ),
    Sabotage(
        7,
        "probe-with-all",
        "app/store/account/pairs.py",
        "_MAY_BE_UNDER_WAY = case((HELD_PAIR, 1), ",
        "_MAY_BE_UNDER_WAY = case((HELD_PAIR, 1000), ",
        ("tests/store/account/test_pairs.py",),
    ),
    Sabotage(
        7,
        "any-word-is-credit",
        "app/domain/admission.py",
        "        if isinstance(outcome, Accepted):\n            return FREE",
        "        if shows_kie_works(outcome):\n            return FREE",
        ("tests/domain/test_admission.py", "tests/services/account/test_neighbours.py"),
    ),
    Sabotage(
        7,
        "one-more-query",
        "app/services/tasks/poll.py",
        "        window = self._policy.limits.queries.window\n",
        "        window = 0.0\n",
        ("tests/services/tasks/test_poll_limits.py",),
    ),
    Sabotage(
        7,
        "all-the-seats",
        "app/store/account/shares.py",
        "        func.greatest(1, cast(func.floor(RUNNING * _SHARE + _NEARLY), Integer)),",
        "        RUNNING,",
        ("tests/store/account/test_shares.py",),
    ),
    Sabotage(
        7,
        "more-than-its-share",
        "app/store/account/shares.py",
        "    bound = case((hungry > 0, competing.c.entitled), else_=competing.c.ceiling)\n",
        "    bound = case((hungry > 1000, competing.c.entitled), else_=competing.c.ceiling)\n",
        ("tests/store/account/test_shares.py",),
    ),
    Sabotage(
        7,
        "refresh-with-all",
        "app/store/tasks/refreshes.py",
        'HALF = QUERIES // literal_column("2", Integer)\n',
        'HALF = QUERIES // literal_column("1", Integer)\n',
        ("tests/store/tasks/test_refreshes.py",),
    ),
    Sabotage(
        7,
        "refresh-in-line",
        "app/store/tasks/refreshes.py",
        "    order = (wanted.c.turn, wanted.c.at.nulls_first(), wanted.c.refreshed_at)\n",
        "    order = (wanted.c.refreshed_at,)\n",
        ("tests/store/tasks/test_refreshes.py",),
    ),
    Sabotage(
        7,
        "queue-without-end",
        "app/services/tasks/create.py",
        "        if refuse and queued.is_over:\n",
        "        if refuse and queued.tasks < 0:\n",
        ("tests/api/test_queue_full.py",),
    ),
    Sabotage(
        7,
        "one-pool-for-all",
        "app/store/engine.py",
        "        working = Database(dsn, pool_size=kept) if kept else callers\n",
        "        working = callers\n",
        ("tests/store/test_engine.py::test_two_fifths_are_kept_for_what_must_not_wait",),
    ),
    Sabotage(
        7,
        "first-come-first-read",
        "app/store/sharing.py",
        "        line = self._lines.setdefault(whose, deque())\n",
        "        line = self._lines.setdefault(whose := None, deque())\n",
        ("tests/store/test_sharing.py::test_who_asks_seldom_comes_next",),
    ),
    Sabotage(
        7,
        "places-for-one",
        "app/store/deliveries/turns.py",
        "or_(ranked.c.turn <= left, ranked.c.turn == 1),",
        "ranked.c.turn > 0,",
        ("tests/store/deliveries/test_attempts.py",),
    ),
    Sabotage(
        7,
        "repetitions-take-all",
        "app/store/deliveries/turns.py",
        "or_(2 * ranked.c.again_turn <= left, ranked.c.turn == 1),",
        "ranked.c.turn > 0,",
        ("tests/store/deliveries/test_turns.py",),
    ),
    Sabotage(
        7,
        "old-before-fresh",
        "app/store/deliveries/turns.py",
        "AGAIN_COUNTS * (again_before + number)",
        "-1 * (again_before + number)",
        ("tests/store/deliveries/test_turns.py",),
    ),
    Sabotage(
        7,
        "call-the-dead",
        "app/store/deliveries/turns.py",
        ".where(or_(failures < TROUBLED_AFTER, DeliveryUrl.held_until <= NOW))",
        ".where(true())",
        ("tests/store/deliveries/test_turns.py",),
    ),
    Sabotage(
        7,
        "slow-is-well",
        "app/store/deliveries/turns.py",
        "(DeliveryUrl.seconds > SLOW_AFTER, SLOW_PLACES),",
        "(DeliveryUrl.seconds > SLOW_AFTER, _OF_ONE),",
        ("tests/store/deliveries/test_turns.py",),
    ),
    Sabotage(
        7,
        "repeat-without-end",
        "app/services/deliveries/budget.py",
        "        if not granted.count:\n",
        "        if granted.count < 0:\n",
        ("tests/api/test_deliveries.py::test_repetitions_have_a_budget",),
    ),
    Sabotage(
        7,
        "refuse-the-next",
        "app/domain/load.py",
        "    if mine.requests <= 1:\n",
        "    if mine:\n        return True\n    if mine.requests <= 1:\n",
        ("tests/domain/test_load.py::test_whoever_has_most_is_refused",),
    ),
    Sabotage(
        7,
        "pages-without-end",
        "app/store/tasks/lists.py",
        "    fits = or_(walk.c.number == 1, walk.c.through <= max_bytes)\n",
        "    fits = or_(walk.c.number >= 1, walk.c.through <= max_bytes)\n",
        ("tests/store/tasks/test_lists.py::test_a_page_ends_before_it_has_too_many_bytes",),
    ),
    Sabotage(
        7,
        "count-no-values",
        "app/api/bodies.py",
        "most=limits.max_json_values",
        "most=None",
        ("tests/api/test_load.py::test_values_are_bounded_and_texts_are_not",),
    ),
    Sabotage(
        8,
        "everybodys-records",
        "app/store/tasks/rows.py",
        'bindparam("client_id"),\n    )\n    .order_by(',
        "Task.client_id,\n    )\n    .order_by(",
        ("tests/api/test_dropin.py::test_another_clients_task_is_not_there",),
    ),
    Sabotage(
        8,
        "everybodys-results",
        "app/store/tasks/rows.py",
        '        Task.client_id == bindparam("client_id", type_=Uuid),\n        literal_column(',
        "        literal_column(",
        ("tests/api/test_dropin.py::test_another_clients_result_is_foreign",),
    ),
    Sabotage(
        8,
        "everybodys-balance",
        "app/services/dropin.py",
        "if not await clients.sees_balance(connection, client_id):",
        "if False:",
        ("tests/api/test_dropin.py::test_the_balance_is_for_those_who_may_see_it",),
    ),
    Sabotage(
        8,
        "everybodys-tasks",
        "app/store/tasks/rows.py",
        "_READ_STATE = select(Task.state).where(\n"
        '    Task.id == bindparam("id"), Task.client_id == bindparam("client_id")\n)',
        '_READ_STATE = select(Task.state).where(Task.id == bindparam("id"))',
        ("tests/api",),
    ),
    Sabotage(
        8,
        "any-scope-will-do",
        "app/services/clients/authentication.py",
        "if known.scopes is not None and scope not in known.scopes:",
        "if False:",
        ("tests/api/test_isolation.py",),
    ),
    Sabotage(
        8,
        "any-role-will-do",
        "app/services/clients/authentication.py",
        "if not has.covers(role):",
        "if False:",
        ("tests/api/test_isolation.py",),
    ),
    Sabotage(
        8,
        "expired-is-as-good",
        "app/services/clients/authentication.py",
        'return Reason.EXPIRED if found["expired"] else None',
        "return None",
        ("tests/api/test_isolation.py",),
    ),
    Sabotage(
        8,
        "disabled-is-as-good",
        "app/services/clients/authentication.py",
        "if known.disabled:",
        "if False:",
        ("tests/api/test_isolation.py",),
    ),
    Sabotage(
        8,
        "streams-for-ever",
        "app/api/events.py",
        "if hold.is_over or clock() > until:",
        "if clock() > until:",
        ("tests/api/test_access.py",),
    ),
    Sabotage(
        8,
        "guess-as-you-like",
        "app/services/clients/refusals.py",
        "        if left > 0:\n",
        "        if left > 1e9:\n",
        ("tests/api/test_access.py",),
    ),
    Sabotage(
        8,
        "rewrite-the-audit",
        "migrations/versions/20261128_0010_access.py",
        "IF TG_OP = 'UPDATE' OR current_user <> (",
        "IF TG_OP = 'UPDATE' OR current_user = (",
        ("tests/store/clients/test_audit.py",),
    ),
    Sabotage(
        8,
        "show-the-balance",
        "app/domain/redact.py",
        '    return without_balance(spelled.without(_balances(spelled.meant), "null"))',
        "    return text",
        ("tests/services/tasks/test_receive.py",),
    ),
    Sabotage(
        8,
        "show-the-token",
        "app/services/tasks/intake.py",
        "        said = redacted(said, self._urls)\n",
        "",
        ("tests/services/tasks/test_receive.py",),
    ),
    Sabotage(
        8,
        "tell-the-balance",
        "app/domain/balance.py",
        "    return _TOLD.sub(_redacted, text) if _HINT.search(text) else text",
        "    return text",
        ("tests/domain/test_redact.py::test_the_balance_is_not_told_in_words_either",),
    ),
    Sabotage(
        8,
        "store-live-tokens",
        "app/domain/keeping.py",
        "body=without_tokens(body, tokens)",
        "body=body",
        (f"{KNOWN_URL}::test_no_live_token_is_stored",),
    ),
    Sabotage(
        8,
        "show-the-signature",
        "app/services/tasks/read.py",
        "if name not in HIDDEN_HEADERS}",
        "if name}",
        ("tests/services/tasks/test_forging.py",),
    ),
    Sabotage(
        8,
        "any-id-will-do",
        "app/domain/evidence.py",
        "    if alleged and echo is not Echo.OWN:",
        "    if False:",
        ("tests/services/tasks/test_receive.py",),
    ),
    Sabotage(
        8,
        "anothers-record",
        "app/domain/evidence.py",
        "    if len(report.kie_task_ids) > 1 or echo is Echo.ANOTHERS:",
        "    if len(report.kie_task_ids) > 1:",
        ("tests/services/tasks/test_evidence.py",),
    ),
    Sabotage(
        8,
        "trace-the-token",
        "app/api/tracing.py",
        "            return True\n        decoded",
        "            return False\n        decoded",
        ("tests/api/test_tracing.py",),
    ),
    Sabotage(
        8,
        "time-for-strangers",
        "app/api/middleware.py",
        "if self._timed and is_known(scope):",
        "if self._timed:",
        ("tests/api/test_browsers.py",),
    ),
    Sabotage(
        9,
        "trust-the-resolver",
        "app/outbound/guard.py",
        '        if objection is not None:\n            message = f"{address}',
        '        if False:\n            message = f"{address}',
        ("tests/outbound/test_sender.py",),
    ),
    Sabotage(
        9,
        "one-spelling-alone",
        "app/outbound/guard.py",
        "for meant in meanings(address))",
        "for meant in (address,))",
        ("tests/outbound/test_guard.py",),
    ),
    Sabotage(
        9,
        "follow-redirects",
        "app/outbound/sender.py",
        "allow_redirects=False",
        "allow_redirects=True",
        ("tests/outbound/test_sender.py",),
    ),
    Sabotage(
        9,
        "remember-addresses",
        "app/outbound/connections.py",
        "use_dns_cache=False",
        "use_dns_cache=True",
        ("tests/outbound/test_sender.py",),
    ),
    Sabotage(
        9,
        "use-the-proxy",
        "app/outbound/connections.py",
        "trust_env=False",
        "trust_env=True",
        ("tests/outbound/test_sender.py",),
    ),
    Sabotage(
        9,
        "open-the-special",
        "app/outbound/guard.py",
        "name = closed_name(address)",
        "name = None",
        ("tests/outbound/test_registry.py",),
    ),
    Sabotage(
        9,
        "list-everybody",
        "app/outbound/guard.py",
        "return None if listed else",
        "return None if listed or True else",
        ("tests/outbound/test_registry.py",),
    ),
    Sabotage(
        9,
        "leave-the-door-open",
        "app/outbound/connections.py",
        "self._guard.require(peer, call)",
        "call.peer = peer",
        ("tests/outbound/test_rebinding.py",),
    ),
    Sabotage(
        9,
        "forget-the-hosts",
        "app/services/deliveries/deliver.py",
        "delivery.webhook_hosts,",
        "None,",
        ("tests/services/deliveries/test_urls.py",),
    ),
    Sabotage(
        9,
        "show-every-answer",
        "app/services/deliveries/history.py",
        'SHOWN if goes_to_listed(row["url"], hosts) else None',
        "SHOWN",
        ("tests/api/test_deliveries.py::test_an_answer_is_shown_of_listed_hosts_only",),
    ),
    Sabotage(
        10,
        "keep-useless-sessions",
        "app/store/engine.py",
        "        context.is_disconnect = True\n",
        "        pass\n",
        ("tests/store/test_engine.py",),
    ),
    Sabotage(
        10,
        "trust-my-own-clock",
        "app/services/deliveries/deliver.py",
        "        now = delivery.claimed_at\n",
        "        from datetime import UTC, datetime\n\n        now = datetime.now(UTC)\n",
        ("tests/services/deliveries/test_deliver.py::test_it_is_signed_by_postgresqls_clock",),
    ),
    Sabotage(
        10,
        "let-the-timer-win",
        "app/kie/client.py",
        "                awake_timeout(self._timeout),\n",
        "                __import__('asyncio').timeout(self._timeout),\n",
        ("tests/kie/test_lost_answers.py",),
    ),
    Sabotage(
        10,
        "send-to-the-last",
        "app/services/tasks/submit.py",
        "return 0 if self._stopped else max(",
        "return max(",
        ("tests/api/test_shutdown.py",),
    ),
    Sabotage(
        10,
        "only-my-own-schema",
        "app/store/releases.py",
        "    if _numbers(oldest) <= _numbers(release()):\n",
        "    if _numbers(oldest) <= ():\n",
        ("tests/api/test_releases.py",),
    ),
    Sabotage(
        10,
        "slam-the-door",
        "app/cli/processes/door.py",
        "listener.setsockopt(",
        "listener.getsockopt(",
        ("tests/processes/test_door.py",),
    ),
    Sabotage(
        1,
        "send-what-was-denied",
        "app/services/tasks/create.py",
        "unwanted=new.id if key is None else None",
        "unwanted=None",
        ("tests/services/tasks/test_withdrawn.py",),
    ),
    Sabotage(
        1,
        "anybody-may-send",
        "app/services/tasks/create.py",
        "                await storing.hold_back(connection, new.id)\n",
        "                pass\n",
        ("tests/services/tasks/test_withdrawn.py",),
    ),
    Sabotage(
        1,
        "leave-it-lying",
        "app/services/tasks/sweep.py",
        "        moved += len(await self._lifecycle.run(self._withdraw))\n",
        "",
        ("tests/services/tasks/test_withdrawn.py",),
    ),
    Sabotage(
        2,
        "any-error-will-do",
        "app/services/tasks/receive.py",
        "patience=PATIENCE, insist=True",
        "patience=PATIENCE",
        ("tests/services/tasks/test_paid_outcomes.py",),
    ),
    Sabotage(
        3,
        "lose-the-id",
        "app/services/tasks/submit.py",
        "self._intake.run(record, patience=RECORD_PATIENCE, insist=True)",
        "self._intake.run(record, patience=RECORD_PATIENCE)",
        ("tests/services/tasks/test_paid_outcomes.py",),
    ),
    Sabotage(
        3,
        "too-late-is-in-time",
        "app/domain/fence.py",
        "    return gone < lease - SEND_MARGIN",
        "    return True",
        ("tests/services/tasks/test_fence.py",),
    ),
    Sabotage(
        10,
        "keep-the-read-only",
        "app/store/engine.py",
        "        context.is_disconnect = True",
        "        pass",
        ("tests/store/test_engine.py",),
    ),
    Sabotage(
        10,
        "keep-the-slots-of-the-dead",
        "app/store/tasks/sweep.py",
        '.values(free_at=func.least(KieSlot.free_at, later("window")))',
        ".values(free_at=KieSlot.free_at)",
        ("tests/store/tasks/test_sweep.py",),
    ),
    Sabotage(
        10,
        "as-the-server-likes",
        "app/store/connecting.py",
        "        await connection.execute(DURABLE_SESSION)",
        "        pass",
        ("tests/store/test_engine.py",),
    ),
    Sabotage(
        10,
        "one-try",
        "app/store/engine.py",
        "            tries += 1\n",
        "            raise trouble\n",
        ("tests/services/tasks/test_lost_commits.py",),
        lab="tests/faults/test_lab.py::test_postgresql_dies_under_load",
    ),
    Sabotage(
        11,
        "count-no-headers",
        "app/cli/processes/edge.py",
        "            if self._head_bytes > self.bounds.header_bytes:",
        "            if False:",
        ("tests/cli/test_edge.py",),
    ),
    Sabotage(
        11,
        "room-for-everybody",
        "app/cli/processes/strangers.py",
        "        while len(self) > self._bound:",
        "        while False:",
        ("tests/cli/test_edge.py",),
    ),
    Sabotage(
        11,
        "say-nothing-to-the-slow",
        "app/cli/processes/edge.py",
        "            self._refuse(TOO_SLOW)",
        "            self._socket.close()",
        ("tests/cli/test_edge.py",),
    ),
    Sabotage(
        11,
        "all-strangers-are-alike",
        "app/cli/processes/strangers.py",
        "next(iter(self._answered or self._unheard))",
        "next(iter(self._unheard or self._answered))",
        ("tests/cli/test_edge.py",),
    ),
    Sabotage(
        11,
        "forget-who-is-known",
        "app/cli/processes/edge.py",
        " and not self.is_leaving and not self.is_known():",
        " and not self.is_leaving:",
        ("tests/cli/test_edge.py",),
    ),
    Sabotage(
        11,
        "a-line-for-each",
        "app/cli/processes/refusing.py",
        "self._sampled.admit(reason)",
        "0",
        ("tests/cli/test_edge.py",),
    ),
    Sabotage(
        11,
        "believe-any-proxy",
        "app/api/forwarded.py",
        "hosts = [str(network) for network in trusted]",
        'hosts = ["*"]',
        ("tests/api/test_forwarded.py",),
    ),
    Sabotage(
        11,
        "dress-the-good-only",
        "app/api/middleware.py",
        "        protect(headers)\n",
        "        if is_known(scope):\n            protect(headers)\n",
        ("tests/api/test_browsers.py",),
    ),
    Sabotage(
        11,
        "run-any-script",
        "app/api/browsers.py",
        "script-src 'self'",
        "script-src *",
        ("tests/api/test_browsers.py",),
    ),
)


def main(names: Sequence[str]) -> int:
    chosen = [one for one in SABOTAGES if not names or {one.name, str(one.promise)} & {*names}]
    with (
        tempfile.TemporaryDirectory(prefix="kie-gateway-sabotage-") as scratch,
        running(Path(scratch) / "embedded") as dsn,
    ):
        noticed = [_is_noticed(one, Path(scratch), dsn) for one in chosen]
    sys.stdout.write(f"{sum(noticed)} of {len(noticed)} sabotages noticed\n")
    return 0 if noticed and all(noticed) else 1


def _is_noticed(sabotage: Sabotage, scratch: Path, dsn: str) -> bool:
    copy = scratch / sabotage.name
    started = time.monotonic()
    _copied(copy)
    _sabotaged(sabotage, copy)
    statuses = [_tested(tests, copy, dsn) for tests in sabotage.runs]
    noticed = all(status == 1 for status in statuses)  # pytest's own: run, and some failed
    verdict = "noticed" if noticed else f"NOT NOTICED (pytest says {statuses})"
    took = time.monotonic() - started
    sys.stdout.write(f"promise {sabotage.promise:>2}  {sabotage.name:<24} {verdict} {took:.1f} s\n")
    sys.stdout.flush()
    return noticed


def _copied(copy: Path) -> None:
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)


def _sabotaged(sabotage: Sabotage, copy: Path) -> None:
    path = copy / sabotage.file
    text = path.read_text()
    if text.count(sabotage.old) != 1:
        message = f"{sabotage.name}: {sabotage.old!r} should stand once in {sabotage.file}"
        raise SystemExit(message)
    path.write_text(text.replace(sabotage.old, sabotage.new))


def _tested(tests: Sequence[str], copy: Path, dsn: str) -> int:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(  # noqa: S603  # our own tests
        [*command, *tests],
        cwd=copy,
        env={**os.environ, "GATEWAY_TEST_DATABASE_URL": dsn, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
