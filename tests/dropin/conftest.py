"""Two sides: the stand-in kie.ai itself, and a gateway whose kie.ai it is."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from app.services.clients.keys import Issued
from app.services.clients.settings import ClientChange
from app.wiring import wired
from simulator.server import Options
from simulator.server import create_app as create_simulator
from tests.dropin.compare import Diff, diffs
from tests.dropin.scenarios import DIRECT, THROUGH, Scenario
from tests.dropin.sides import Side
from tests.faults.shifting import ASK_NOW, SKIP, waking
from tests.gateway import OPERATOR
from tests.simulator.stage import Receiver
from tests.stage import serving, serving_at

HELD = "AND held_since IS NOT NULL"
HASTEN = {False: waking(f"{SKIP} {HELD}", "poll"), True: waking(f"{ASK_NOW} {HELD}", "poll")}
"""By a scenario's patience: skips the time for which an end is asked about, or asks at once."""
ASK_ANEW = "UPDATE kie_account SET balance_at = NULL, balance = NULL"
"""The loops read the balance as they start; what a client is told is of the moment then."""
KIE_API_KEY = "kie-key-of-the-tests"
HMAC_KEY = "webhook-hmac-key-not-to-be-shown"


@dataclass(frozen=True, slots=True)
class Sides:
    """Both, one simulator behind them."""

    direct: Side
    through: Side

    async def compared(self, scenario: Scenario) -> list[Diff]:
        direct = await self.direct.play(scenario)
        return list(diffs(direct, await self.through.play(scenario)))


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """The caller, at an URL whose query is to be kept as it is."""
    receiver = Receiver()
    async with serving(receiver.app()) as url:
        receiver.url = f"{url}/hook?order=1%2F2"
        yield receiver


@pytest_asyncio.fixture
async def direct(receiver: Receiver) -> AsyncIterator[Side]:
    options = Options(
        duration=0.2, api_key=KIE_API_KEY, hmac_key=HMAC_KEY, callback_retry_delay=0.05
    )
    async with (
        serving(create_simulator(options)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        yield Side(DIRECT, http, KIE_API_KEY, KIE_API_KEY, HMAC_KEY, http, receiver)


@pytest_asyncio.fixture
async def sides(
    sql: Any,
    make_settings: Callable[..., Settings],
    direct: Side,
) -> AsyncIterator[Sides]:
    settings = make_settings(
        kie_base_url=str(direct.http.base_url),
        kie_api_key=SecretStr(KIE_API_KEY),
        kie_webhook_hmac_keys=(SecretStr(HMAC_KEY),),
        submit_wait=0.5,
        delivery_allow_loopback=True,
    )
    async with (
        serving_at(lambda own: _gateway(settings, own)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        issued = await _issued(settings, "dropin", sees_balance=True)
        other = await _issued(settings, "other")
        keys = (issued.api_key, other.api_key, issued.signing_secret)
        others = (
            direct.simulator,
            direct.receiver,
            lambda scenario: sql.execute(f"{HASTEN[scenario.patient]}; {ASK_ANEW}"),
        )
        yield Sides(direct, Side(THROUGH, http, *keys, *others))


def _gateway(settings: Settings, url: str) -> Any:
    """Build a gateway with its loops that kie.ai reaches where it listens."""
    return create_app(settings.model_copy(update={"public_url": url}))


async def _issued(settings: Settings, client: str, *, sees_balance: bool = False) -> Issued:
    assert settings.database_url is not None
    async with wired(settings, settings.database_url.get_secret_value()) as services:
        issued = await services.keys.create(client)
        change = ClientChange(given=frozenset({"sees_balance"}), sees_balance=sees_balance)
        await services.clients.change(OPERATOR, client, change)
        return issued
