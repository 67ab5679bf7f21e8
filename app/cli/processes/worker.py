"""`kie-gateway worker`: the worker loops in a process of their own."""

from app.cli.options import Host, Port


def worker(host: Host = None, port: Port = None) -> None:
    """Run only the worker loops, beside any number of `serve --no-worker`.

    Needs the settings of `serve`: GATEWAY_SECRET_KEYS, GATEWAY_KIE_API_KEY,
    GATEWAY_DATABASE_URL and GATEWAY_PUBLIC_URL, all the same. Any number may
    run; each task is sent by one of them. Serves /livez, /readyz and /metrics
    at GATEWAY_WORKER_LISTEN (/metrics at GATEWAY_METRICS_LISTEN, if that is
    set): several on one machine need a port each.

    \b
    kie-gateway serve --no-worker &
    kie-gateway worker
    kie-gateway worker --port 0        any free one; worker.listening logs it

    SIGTERM takes nothing new, waits for what is on its way to kie.ai, and
    exits 0. Exits 1 when the database or the port cannot be used, 2 when the
    settings cannot.
    """
    from app.cli.context import ready_settings

    with ready_settings() as ready:
        from app.cli.application import address, run
        from app.cli.processes.server import listening
        from app.main import create_worker

        where = address(ready.worker_listen, host, port)
        with listening(where, "GATEWAY_WORKER_LISTEN") as listener:
            run(create_worker(ready), listener, "worker", ready)
