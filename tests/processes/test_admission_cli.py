"""The operator's commands against running gateways: the brake, shares, and tasks that are stuck."""

import json
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from app.domain.admission import HoldReason
from tests.gateway import Gateway, issue_key
from tests.processes.conftest import At, Connection, Start
from tests.processes.stage import PATIENCE, SECRETS, Stage
from tests.stage import eventually
from tests.store.stage import put_breaker, put_client
from tests.upstream import BALANCE, Upstream, refused, succeeded

PACED = {"GATEWAY_KIE_CREATES_PER_10S": "2", "GATEWAY_KIE_CREATE_WINDOW": "1"}
"""Two creates a second at most."""

MANY = 60
"""Tasks whose queue lasts longer than a command takes on a busy machine."""

FOUND = "f" * 32
"""An id in kie.ai's log."""

SENT_AFTER = """
SELECT count(*) FROM tasks JOIN client_queues USING (client_id), kie_account
WHERE submitted_at > coalesce(client_queues.paused_at, kie_account.paused_at)
"""
UNUSED_SLOTS = "SELECT count(*) = 0 FROM kie_slots WHERE kind = 'create' AND free_at > now()"


async def _rest(sql: Connection) -> None:
    """Wait until nothing is on its way to kie.ai and every slot is free."""

    async def look() -> bool | None:
        moving = await sql.fetchval("SELECT count(*) FROM tasks WHERE state = 'submitting'")
        return (moving == 0 and await sql.fetchval(UNUSED_SLOTS)) or None

    await eventually(look, PATIENCE)


async def _waiting(sql: Connection, client: str) -> int:
    found: int = await sql.fetchval(
        "SELECT count(*) FROM tasks JOIN clients ON clients.id = client_id"
        " WHERE state = 'queued' AND name = $1",
        client,
    )
    return found


async def _audit(sql: Connection) -> list[tuple[str, str, str | None, Any]]:
    rows = await sql.fetch("SELECT * FROM audit_entries ORDER BY id")
    return [
        (row["action"], row["actor"], row["client"], json.loads(row["detail"]))
        for row in rows
        if row["action"] not in {"key_created", "key_revoked"}
    ]


@pytest.mark.long
async def test_a_pause_stops_spending_at_once(
    stage: Stage, start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    gateway = await at(await (await start("serve", **PACED)).ready())
    for _ in range(MANY):
        await gateway.create()

    # Without secrets: the brake must not depend on anything but the database.
    paused = await stage.run("admission", "pause", "--note", "wrong prompt", GATEWAY_SECRET_KEYS="")
    assert (paused.status, paused.out) == (0, "paused everything\n"), paused
    await gateway.create()
    await _rest(sql)
    assert await _waiting(sql, "tests") > 0
    assert await sql.fetchval(SENT_AFTER) == 0
    sent = len(upstream.creates)
    assert sent == MANY + 1 - await _waiting(sql, "tests")

    shown = await stage.run("admission", "status", **PACED)
    assert shown.status == 0
    assert "(wrong prompt)" in shown.out
    assert "2 of 2 slots free" in shown.out
    assert f"{sent} of 100" in shown.out
    as_json = (await stage.run("admission", "status", "--json", **PACED)).json
    assert (as_json["creates_free"], as_json["running"]) == (2, sent)
    assert as_json["clients"][0]["queued"] == MANY + 1 - sent
    doctor = await stage.run("doctor", GATEWAY_PUBLIC_URL=None)
    assert doctor.status == 1
    assert "paused since" in doctor.out
    assert "kie-gateway admission resume" in doctor.out
    assert "due and not done" not in doctor.out  # the loops do as they are told

    resumed = await stage.run("admission", "resume")
    assert (resumed.status, resumed.out) == (0, "resumed\n")

    async def more() -> bool | None:
        return len(upstream.creates) > sent or None

    await eventually(more, PATIENCE)
    assert await _audit(sql) == [
        ("admission_paused", "command_line", None, {"note": "wrong prompt"}),
        ("admission_resumed", "command_line", None, {}),
    ]
    assert "open" in (await stage.run("admission", "status")).out


@pytest.mark.long
async def test_held_pairs_are_shown(stage: Stage, sql: Connection) -> None:
    shop = await put_client(sql, "shop")
    await put_breaker(sql, shop, "resting", tries=1)
    await put_breaker(sql, shop, "misspelt", tries=7, reason=HoldReason.KIE_UNANSWERED)
    shown = (await stage.run("admission", "status")).out
    assert shown.index("misspelt") < shown.index("resting")
    assert "455: no" in shown
    as_json = (await stage.run("admission", "status", "--json")).json
    assert as_json["hold_reason"] is None
    assert as_json["held_pairs_total"] == 2
    assert [(pair["client"], pair["model"]) for pair in as_json["held_pairs"]] == [
        ("shop", "misspelt"),
        ("shop", "resting"),
    ]


@pytest.mark.long
async def test_one_client_is_paused_and_the_others_go_on(
    stage: Stage, start: Start, at: At, sql: Connection
) -> None:
    gateway = await at(await (await start("serve", **PACED)).ready())
    other = {"Authorization": f"Bearer {await issue_key(gateway.settings, 'other')}"}
    for _ in range(MANY):
        await gateway.create()
    paused = await stage.run("admission", "pause", "--client", "tests", "--note", "budget")
    assert (paused.status, paused.out) == (0, "paused tests\n")
    body = {"model": "m", "input": {}}
    answers = [await gateway.http.post("/v1/tasks", json=body, headers=other) for _ in range(4)]
    stage.secrets.add(other["Authorization"])
    assert {answer.status_code for answer in answers} == {201}

    async def others_sent() -> bool | None:
        return await _waiting(sql, "other") == 0 or None

    await eventually(others_sent, PATIENCE)
    await _rest(sql)
    assert await _waiting(sql, "tests") > 0
    assert await sql.fetchval(SENT_AFTER) == 0

    one = await stage.run("admission", "status", "--client", "tests", "--json")
    assert (one.json["client"], one.json["pause_note"]) == ("tests", "budget")
    listed = await stage.run("clients", "list")
    assert "budget" in listed.out
    everything = await stage.run("admission", "resume")  # is another brake
    assert everything.status == 0
    assert await sql.fetchval("SELECT count(paused_at) FROM client_queues") == 1
    assert (await stage.run("admission", "resume", "--client", "tests")).out == "resumed tests\n"
    assert await sql.fetchval("SELECT count(paused_at) FROM client_queues") == 0


@pytest.mark.long
async def test_a_hold_is_shown_and_the_balance_is_not(
    stage: Stage, start: Start, at: At, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(402, "Insufficient credits"))
    gateway = await at(await (await start("serve", "--no-worker")).ready())
    await gateway.create()

    shown = await stage.run("admission", "status")

    assert "kie_account since" in shown.out
    assert "Insufficient credits" in shown.out
    assert "next probe" in shown.out
    assert str(BALANCE) not in shown.out


# -- stuck tasks


async def _lost(gateway: Gateway, upstream: Upstream) -> str:
    """Create a task whose create's answer is lost."""
    upstream.answers(lambda: PlainTextResponse("oops", status_code=500))
    task = await gateway.create()
    assert task["state"] == "unconfirmed"
    upstream.on_create = None
    return str(task["id"])


@pytest.mark.long
async def test_an_expired_task_is_bound_and_settled_by_asking(
    stage: Stage, start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    gateway = await at(await (await start("serve")).ready())
    task_id = await _lost(gateway, upstream)
    stuck = await stage.run("stuck", "--json")
    assert [(one["id"], one["why"], one["client"]) for one in stuck.json] == [
        (task_id, "unconfirmed", "tests")
    ]
    assert task_id in (await stage.run("stuck")).out
    await sql.execute("UPDATE tasks SET expires_at = now()")
    await gateway.reaches(task_id, "expired")
    upstream.records[FOUND] = succeeded(FOUND)

    bound = await stage.run("tasks", "bind", task_id, FOUND)

    assert (bound.status, bound.out) == (0, f"{task_id} bound; kie.ai is polled for it\n"), bound
    task = await gateway.reaches(task_id, "succeeded")
    assert (task["kie_task_id"], task["settled_by"]) == (FOUND, "query")
    assert await _audit(sql) == [("task_bound", "command_line", None, {"kie_task_id": FOUND})]
    assert (await stage.run("stuck")).out == "nothing is stuck\n"
    again = await stage.run("tasks", "bind", task_id, FOUND)
    assert again.said("The task is succeeded", status=1), again


@pytest.mark.long
async def test_a_task_is_put_back_only_by_who_says_that_it_may_be_paid_again(
    stage: Stage, start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    gateway = await at(await (await start("serve")).ready())
    task_id = await _lost(gateway, upstream)

    refusal = await stage.run("tasks", "requeue", task_id)
    assert refusal.said("may pay again", status=2), refusal
    assert "kie.ai's log" in refusal.err
    assert "--may-pay-again" in refusal.err
    assert await _audit(sql) == []
    assert len(upstream.creates) == 1

    put_back = await stage.run("tasks", "requeue", task_id, "--may-pay-again")
    assert (put_back.status, put_back.out) == (0, f"{task_id} queued again\n"), put_back
    task = await gateway.reaches(task_id, "running")
    assert task["kie_task_id"]
    assert len(upstream.creates) == 2
    assert await _audit(sql) == [
        ("task_requeued", "command_line", None, {"may_pay_again": "true", "attempt": "1"})
    ]
    again = await stage.run("tasks", "requeue", task_id, "--may-pay-again")
    assert again.said("The task is running", status=1), again


@pytest.mark.long
async def test_a_task_that_was_set_aside_is_released(
    stage: Stage, start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    gateway = await at(await (await start("serve", "--no-worker")).ready())
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET parked_at = now(), last_poll_error = 'KeyError: data'")
    assert "KeyError: data" in (await stage.run("stuck")).out

    released = await stage.run("tasks", "release", task["id"])

    assert (released.status, released.out) == (
        0,
        f"{task['id']} released; kie.ai is polled for it\n",
    )
    again = await stage.run("tasks", "release", task["id"])
    assert again.said("not parked", status=1), again
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    await (await start("worker")).ready()
    assert (await gateway.reaches(task["id"], "succeeded"))["settled_by"] == "query"


# -- clients


@pytest.mark.long
async def test_a_clients_share(stage: Stage, sql: Connection) -> None:
    made = await stage.run("keys", "create", "shop", "--weight", "3", "--json")
    shown = ["client", "api_key", "signing_secret", "scopes", "expires_at"]
    assert list(made.json) == shown
    stage.secrets.update({made.json["api_key"], made.json["signing_secret"]})
    changed = await stage.run("clients", "set", "shop", "--weight", "7")
    assert (changed.status, changed.out) == (0, "changed shop: weight\n")

    listed = await stage.run("clients", "list", "--json")

    assert [(one["client"], one["weight"], one["queued"]) for one in listed.json] == [
        ("shop", 7, 0)
    ]
    assert listed.json[0]["created_at"].endswith("Z")
    assert not SECRETS.search(listed.out)
    assert [detail for *_, detail in await _audit(sql)] == [{"weight": "3"}, {"weight": "7"}]


# -- what cannot be done

NOBODY = "019a0000-0000-7000-8000-000000000000"
REFUSED: list[tuple[tuple[str, ...], str, int]] = [
    (("admission", "pause", "--client", "nobody"), "no client called nobody", 1),
    (("admission", "resume", "--client", "nobody"), "no client called nobody", 1),
    (("admission", "status", "--client", "nobody"), "no client called nobody", 1),
    (("admission", "pause", "--note", "two\nlines"), "one line", 2),
    (("admission", "pause", "--client", "\udcff"), "no client called", 1),
    (("clients", "set", "nobody", "--weight", "3"), "no client called nobody", 1),
    (("clients", "set", "nobody", "--weight", "0"), "from 1 to 100", 2),
    (("keys", "create", "shop", "--weight", "101"), "from 1 to 100", 2),
    (("tasks", "bind", NOBODY, FOUND), "no task with this id", 1),
    (("tasks", "bind", "no-uuid", FOUND), "is a UUID", 2),
    (("tasks", "bind", NOBODY, "an id"), "printable ASCII", 2),
    (("tasks", "requeue", NOBODY, "--may-pay-again"), "no task with this id", 1),
    (("tasks", "requeue", "no-uuid", "--may-pay-again"), "is a UUID", 2),
    (("tasks", "release", NOBODY), "no task with this id", 1),
]


@pytest.mark.long
async def test_what_cannot_be_done_is_said_in_one_line(stage: Stage, sql: Connection) -> None:
    found = await stage.run_each([arguments for arguments, *_ in REFUSED])

    for ended, (arguments, text, status) in zip(found, REFUSED, strict=True):
        assert ended.said(text, status=status), (arguments, ended)
    assert await sql.fetchval("SELECT count(*) FROM audit_entries") == 0
    assert await sql.fetchval("SELECT count(*) FROM clients") == 0


async def test_what_is_missing_is_named(stage: Stage) -> None:
    commands = [
        ("clients", "set"),
        ("clients", "set", "shop", "--weight", "many"),
        ("tasks", "bind"),
    ]

    for ended in await stage.run_each(commands):
        assert ended.status == 2, ended
        assert "Traceback" not in ended.err
        assert "Usage: kie-gateway" in ended.err


@pytest.mark.long
@pytest.mark.parametrize("arguments", [("admission", "pause"), ("stuck",)], ids=" ".join)
async def test_without_a_usable_database(
    stage: Stage, scratch: str, arguments: tuple[str, ...]
) -> None:
    unmigrated = await stage.run(*arguments, GATEWAY_DATABASE_URL=scratch)
    assert unmigrated.said("run `kie-gateway migrate`", status=1), unmigrated
    nowhere = await stage.run(
        *arguments, GATEWAY_DATABASE_URL="postgresql://g:not-to-be-shown@127.0.0.1:9/g"
    )
    assert nowhere.said("correct GATEWAY_DATABASE_URL", status=1), nowhere
    assert "not-to-be-shown" not in nowhere.err


# -- surfaces


@pytest.mark.long
async def test_the_webhook_is_served_apart(stage: Stage, start: Start, at: At) -> None:
    """The table of paths is tested in the API's tests; here, that the command has it."""
    outside = await start("serve", "--surface", "callbacks", "--no-worker")
    inside = await start("serve", "--surface", "internal")
    gateway, public = await at(await inside.ready()), await at(await outside.ready())
    assert (await public.http.get("/readyz")).json() == {"status": "ok"}
    for path in ("/v1/tasks", "/metrics", "/docs"):
        assert (await public.http.get(path)).status_code == 404
        assert (await gateway.http.get(path)).status_code == 200
    assert (
        (await gateway.http.post("/callbacks/kie/x/y"))
        .json()["detail"]
        .startswith("There is nothing")
    )
    doctor = await stage.run("doctor", "--url", str(gateway.http.base_url), GATEWAY_PUBLIC_URL=None)
    assert doctor.status == 0, doctor.out
    wrong = await stage.run("serve", "--surface", "public")
    assert wrong.status == 2
    assert "callbacks" in wrong.err
