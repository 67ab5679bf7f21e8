"""`kie-gateway doctor`: each trouble with its remedy, and no secret in either."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.gateway import SECRET
from tests.processes.conftest import Connection
from tests.processes.stage import KIE_API_KEY, Ended, Stage
from tests.stage import serving
from tests.upstream import BALANCE

NOWHERE = "http://127.0.0.1:9"


def _findings(ended: Ended) -> dict[str, str]:
    """Return what each thing failed with, the remedy included."""
    assert "Traceback" not in ended.err, ended.err
    assert "\x1b" not in ended.out
    for secret in (SECRET, KIE_API_KEY, "not-to-be-shown", str(BALANCE)):
        assert secret not in ended.out + ended.err
    lines = iter(ended.out.splitlines())
    failed = {line[5:17].strip(): line[18:] for line in lines if line.startswith("FAIL")}
    remedies = [line.strip() for line in ended.out.splitlines() if "→" in line]
    assert len(remedies) == len(failed)
    said = zip(failed.items(), remedies, strict=True)
    return {name: f"{trouble} {remedy}" for (name, trouble), remedy in said}


async def test_all_is_well(stage: Stage, replica_urls: tuple[str, str]) -> None:
    issued = await stage.run("keys", "create", "doctored", "--json")
    stage.secrets.update((issued.json["api_key"], issued.json["signing_secret"]))

    ended = await stage.run("doctor", GATEWAY_PUBLIC_URL=replica_urls[0])

    assert ended.status == 0, ended
    assert _findings(ended) == {}
    names = [line[5:17].strip() for line in ended.out.splitlines() if line.startswith("ok")]
    assert names == [
        *("secrets", "database", "version", "writes", "connections", "JIT", "disk"),
        *("schema", "durability", "identity", "clocks"),
        *("processes", "seals", "keys", "retention", "work", "admission", "public URL", "kie.ai"),
    ]


STUCK = {"status": "unavailable", "checks": {"database": "ok", "loops": "no beat for 60 s: poll"}}


@pytest.mark.long
async def test_a_process_whose_loop_is_stuck(stage: Stage) -> None:
    """By its own URL and behind the public one; a proxy that hides /readyz proves nothing."""

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "kie-gateway"})

    async def readyz(_: Request) -> Response:
        return JSONResponse(STUCK, 503)

    shown = [Route("/livez", livez), Route("/readyz", readyz)]
    async with (
        serving(Starlette(routes=shown)) as open_,
        serving(Starlette(routes=shown[:1])) as shut,
    ):
        asked = await stage.run("doctor", "--url", open_, GATEWAY_PUBLIC_URL=shut)
        public = await stage.run("doctor", GATEWAY_PUBLIC_URL=open_)
        hidden = await stage.run("doctor", "--url", shut, GATEWAY_PUBLIC_URL=None)

    for name, ended in {"process": asked, "public URL": public}.items():
        found = _findings(ended)[name]
        assert "is not fit for work: loops: no beat for 60 s: poll" in found
        assert "restart that process" in found
    assert "public URL" not in _findings(asked)
    assert "404, not as a gateway does" in _findings(hidden)["process"]


async def test_nothing_is_set(stage: Stage, scratch: str) -> None:
    """An empty database and no settings but its URL: the most that can be wrong at once."""
    ended = await stage.run(
        "doctor",
        GATEWAY_DATABASE_URL=scratch,
        GATEWAY_SECRET_KEYS=None,
        GATEWAY_KIE_API_KEY=None,
        GATEWAY_PUBLIC_URL=None,
    )

    found = _findings(ended)
    assert ended.status == 1
    assert list(found) == ["secrets", "schema", "kie.ai"]
    assert "kie-gateway secrets generate" in found["secrets"]
    assert "kie-gateway migrate" in found["schema"]
    assert "set GATEWAY_KIE_API_KEY" in found["kie.ai"]
    assert "polls" in ended.out


async def test_everything_is_away(stage: Stage) -> None:
    ended = await stage.run(
        "doctor",
        GATEWAY_DATABASE_URL="postgresql://gateway:not-to-be-shown@127.0.0.1:9/gateway",
        GATEWAY_KIE_BASE_URL=NOWHERE,
        GATEWAY_PUBLIC_URL=NOWHERE,
    )

    found = _findings(ended)
    assert ended.status == 1
    assert list(found) == ["database", "public URL", "kie.ai"]
    assert "correct GATEWAY_DATABASE_URL" in found["database"]
    assert "let GATEWAY_PUBLIC_URL lead to it" in found["public URL"]
    assert "GATEWAY_KIE_BASE_URL" in found["kie.ai"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("envelope", "remedy"),
    [
        ({"code": 401, "msg": "You do not have access permissions"}, "correct GATEWAY_KIE_API_KEY"),
        ({"code": 200, "msg": "success", "data": 0}, "buy credits"),
    ],
    ids=["wrong key", "no credits"],
)
async def test_the_account(
    stage: Stage, sql: Connection, envelope: dict[str, object], remedy: str
) -> None:
    """kie.ai answers, and so does something that is no gateway under the public URL."""

    await sql.execute("DELETE FROM api_keys")

    async def always(_: Request) -> Response:
        return JSONResponse(envelope)

    async with serving(Starlette(routes=[Route("/{rest:path}", always)])) as url:
        ended = await stage.run("doctor", GATEWAY_KIE_BASE_URL=url, GATEWAY_PUBLIC_URL=url)

    found = _findings(ended)
    assert ended.status == 1
    assert list(found) == ["keys", "public URL", "kie.ai"]
    assert "kie-gateway keys create NAME" in found["keys"]
    assert "another server is there" in found["public URL"]
    assert remedy in found["kie.ai"]
