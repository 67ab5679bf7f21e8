"""`kie-gateway simulator`: a stand-in kie.ai, well-behaved or with named faults."""

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.exits import give_up, reason
from app.cli.options import HIGHEST_PORT

if TYPE_CHECKING:
    from simulator.server import Options


def simulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=HIGHEST_PORT, help="Port; 0 takes a free one and prints it."),
    ] = 8100,
    duration: Annotated[float, typer.Option(min=0, help="Seconds that a task runs.")] = 3.0,
    failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of tasks that fail, 0 to 1.")
    ] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="NAME=RATE, repeatable: docs/simulator.md lists the faults."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which tasks fail, and with which faults.")] = 0,
    credits_: Annotated[
        str, typer.Option("--credits", help="The account's balance at the start.")
    ] = "5916.25",
    out_of_credits_code: Annotated[
        int, typer.Option(help="402 or 500: how a create is refused that cannot be paid.")
    ] = 402,
    creates_per_window: Annotated[
        int | None, typer.Option(min=1, help="Creates in any window; over it 429. None: any.")
    ] = None,
    window_seconds: Annotated[float, typer.Option(min=0.001, help="The window's length.")] = 10.0,
    queries_per_second: Annotated[
        int | None, typer.Option(min=1, help="Queries in any second; over it 429. None: any.")
    ] = None,
    running_cap: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once; over it 429. None: any.")
    ] = None,
    create_latency: Annotated[
        str | None,
        typer.Option(metavar="MIN:MAX", help="Seconds that the answer to a create takes."),
    ] = None,
    query_latency: Annotated[
        str | None,
        typer.Option(metavar="MIN:MAX", help="Seconds that the answer to a query takes."),
    ] = None,
    callback_delay: Annotated[
        float, typer.Option(min=0, help="Seconds between a task's end and its callback.")
    ] = 0.0,
    public_url: Annotated[
        str | None, typer.Option(help="Where results are served; none: the create's Host.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="The one right key; none: any key.")] = None,
    hmac_key: Annotated[str | None, typer.Option(help="Signs callbacks; none: unsigned.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model that it knows besides its own list; repeatable."),
    ] = None,
    strict_models: Annotated[
        bool,
        typer.Option("--strict-models", help="Refuse other models, as kie.ai; else only warn."),
    ] = False,
) -> None:
    """Run a stand-in kie.ai: createTask, recordInfo, credit, callbacks and small real pictures.

    Needs no settings: nothing of it costs anything or leaves this machine.
    Point a gateway at it with GATEWAY_KIE_BASE_URL=http://127.0.0.1:8100.

    \b
    kie-gateway simulator --duration 1 --failure-rate 0.1
    kie-gateway simulator --fault callback-dropped=0.2 --creates-per-window 20
    curl http://127.0.0.1:8100/simulator/ledger      # what it billed
    curl http://127.0.0.1:8100/simulator/next -d '{"fault": "callback-late"}'
    """
    from simulator.server import Options

    options = Options(
        api_key=api_key,
        duration=duration,
        failure_rate=failure_rate,
        faults=dict(_rate(given) for given in fault or ()),
        seed=seed,
        start_credits=_amount(credits_),
        out_of_credits_code=_code(out_of_credits_code),
        creates_per_window=creates_per_window,
        window_seconds=window_seconds,
        queries_per_second=queries_per_second,
        running_cap=running_cap,
        create_latency=_span(create_latency, "--create-latency"),
        query_latency=_span(query_latency, "--query-latency"),
        callback_delay=callback_delay,
        public_url=public_url,
        hmac_key=hmac_key,
        models=tuple(models or ()),
        strict_models=strict_models,
    )
    _run(host, port, options)


def _run(host: str, port: int, options: "Options") -> None:
    from app.config.values import Address
    from simulator.server import run

    try:
        run(host, port, options)
    except OSError as error:
        give_up(f"cannot listen on {Address(host, port)}: {reason(error)}")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        message = f"{text!r} is not an amount such as 5916.25"
        raise typer.BadParameter(message, param_hint="--credits")
    return amount


def _rate(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        message = f"{text!r} is not NAME=RATE, such as callback-dropped=0.2"
        raise typer.BadParameter(message, param_hint="--fault") from None


def _span(text: str | None, flag: str) -> tuple[float, float] | None:
    from simulator.choices import DAY

    if text is None:
        return None
    least, _, most = text.partition(":")
    try:
        span = float(least), float(most)
    except ValueError:
        span = math.nan, math.nan
    if not 0 <= span[0] <= span[1] <= DAY:
        message = f"{text!r} is not MIN:MAX in seconds, such as 0.3:0.9"
        raise typer.BadParameter(message, param_hint=flag)
    return span


def _code(given: int) -> Literal[402, 500]:
    codes: Mapping[int, Literal[402, 500]] = {402: 402, 500: 500}
    if given not in codes:
        message = f"{given} is neither 402 nor 500"
        raise typer.BadParameter(message, param_hint="--out-of-credits-code")
    return codes[given]
