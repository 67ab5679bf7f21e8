"""`kie-gateway serve`: the API, and the worker loops beside it."""

from typing import Annotated, Literal

import typer

from app.cli.options import Host, Port


def serve(
    host: Host = None,
    port: Port = None,
    worker: Annotated[bool, typer.Option(help="Run the worker loops in this process too.")] = True,
    surface: Annotated[
        Literal["all", "internal", "callbacks"],
        typer.Option(help="Which paths: all, all but the callbacks, or only the callbacks."),
    ] = "all",
) -> None:
    """Serve the API, and the worker loops beside it unless --no-worker.

    Needs GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY and, outside development,
    GATEWAY_DATABASE_URL with this version's schema (`kie-gateway migrate`).
    Set GATEWAY_PUBLIC_URL to where kie.ai reaches this gateway; without it
    the gateway polls. Listens at GATEWAY_LISTEN; /livez, /readyz and /metrics
    need no key. With GATEWAY_ADMIN_KEY there is /v1/admin too. Behind a proxy
    set GATEWAY_TRUSTED_PROXIES, to see callers' addresses.

    Only kie.ai's webhook has to be reached from the internet. --surface
    callbacks serves that path and, without details, /livez and /readyz;
    internal serves all the rest. With GATEWAY_METRICS_LISTEN the process
    serves /metrics there, on any surface, and no more on its own port. With
    --no-worker, --surface callbacks needs only GATEWAY_DATABASE_URL and
    GATEWAY_CALLBACK_KEYS: it signs and sends nothing.

    \b
    kie-gateway serve                          everything in one process
    kie-gateway serve --no-worker --port 8080  the API, beside `worker`
    kie-gateway serve --surface internal
    kie-gateway serve --surface callbacks --no-worker --port 8080

    SIGTERM stops the loops and turns /readyz to 503 at once. Requests are
    answered for GATEWAY_SHUTDOWN_LINGER more seconds, then new connections are
    refused, what is on its way to kie.ai is recorded, and it exits 0, all of
    it within GATEWAY_SHUTDOWN_TIMEOUT. Exits 1 when the database or the port
    cannot be used, 2 when the settings cannot.
    """
    from app.cli.context import ready_settings

    receives_only = surface == "callbacks" and not worker
    with ready_settings(receives_only=receives_only) as ready:
        from app.cli.application import address, run
        from app.cli.processes.server import listening
        from app.main import Surface, create_app

        with listening(address(ready.listen, host, port), "GATEWAY_LISTEN") as listener:
            app = create_app(ready, worker=worker, surface=Surface(surface))
            run(app, listener, "serve", ready)
