"""The HTTP service: `uvicorn --factory app.main:create_app`, or `kie-gateway serve`."""

import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from importlib import metadata

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.applications import Starlette
from starlette.types import Lifespan

from app import config, log
from app.api import (
    admin,
    admin_keys,
    admin_tasks,
    bulk,
    callbacks,
    deliveries,
    docs,
    dropin,
    dropin_uploads,
    errors,
    events,
    files,
    health,
    models,
    openapi,
    spend,
    tasks,
    uploads,
)
from app.api.forwarded import TrustedProxies
from app.api.load import LoadFrame
from app.api.middleware import RequestFrame
from app.api.straight import StraightFrame
from app.config import Settings, SettingsError
from app.config.concerns import concerns
from app.console import door
from app.wiring import wired
from app.worker import at_work, loops

DESCRIPTION = """\
Stands between your services and kie.ai: a task is created with one POST, submitted once, kept,
settled whatever gets lost, and answered.

Every answer carries `X-Request-ID`, and one to a valid key `Server-Timing`. Refusals are
`application/problem+json` (RFC 9457) with a stable `code`. Times are RFC 3339 with Z, durations
seconds.

Each client has limits: every answer to an API key carries `RateLimit-Policy` and `RateLimit`, and
one over a limit is 429 with `Retry-After`.
"""

UNTRACED: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI's own telemetry writes down URLs, and a callback's URL is its key: ours is app/traces."""

logger = log.get_logger(__name__)


class SchemaError(RuntimeError):
    """The database is not at the schema that this code needs."""


class UnsafeDatabaseError(RuntimeError):
    """The database may lose what it has committed."""


class Surface(StrEnum):
    """Which paths a process serves: only the webhook's need be public."""

    ALL = "all"
    INTERNAL = "internal"
    CALLBACKS = "callbacks"


_API = (
    health.live,
    tasks.router,
    events.router,
    deliveries.router,
    files.router,
    spend.router,
    models.router,
    dropin.router,
    dropin_uploads.router,
    uploads.router,
    health.inside,
)
"""The most used first: a path is compared with one route after the other."""

ROUTERS: Mapping[Surface, Sequence[APIRouter]] = {
    Surface.ALL: (callbacks.router, *_API),
    Surface.INTERNAL: _API,
    Surface.CALLBACKS: (callbacks.router, health.live, health.outside),
}

_ADMIN = (
    admin.router,
    admin_keys.router,
    admin_tasks.router,
    bulk.router,
    spend.admin,
    models.admin,
)

ADMIN: Mapping[Surface, Sequence[APIRouter]] = {
    Surface.ALL: _ADMIN,
    Surface.INTERNAL: _ADMIN,
    Surface.CALLBACKS: (),
}
"""The same with GATEWAY_ADMIN_KEY; without it, nothing shows that there are such paths."""

_INSIDE = {door.PREFIX: door.refused}
_KIES = {dropin.PREFIX: dropin.refused, dropin_uploads.PREFIX: dropin_uploads.refused}

FORMS: Mapping[Surface, Mapping[str, errors.Form]] = {
    Surface.ALL: {**_KIES, **_INSIDE},
    Surface.INTERNAL: {**_KIES, **_INSIDE},
    Surface.CALLBACKS: {},
}
"""How refusals are written where they are no problem documents, by the beginning of the path."""


def create_app(
    settings: Settings | None = None, *, worker: bool = True, surface: Surface = Surface.ALL
) -> FastAPI:
    """Build the service. Without `worker` it leaves the loops to `kie-gateway worker`."""
    if settings is None:
        settings = config.load()
        log.configure(settings.log_level, settings.log_format, sys.stderr)
    app = FastAPI(
        title="kie-gateway",
        version=metadata.version("kie-gateway"),
        description=DESCRIPTION,
        lifespan=_lifespan(settings, worker=worker),
        openapi_url=None,  # ours is served by app/api/docs.py
        telemetry=UNTRACED,
        redirect_slashes=False,
    )
    errors.install(app, FORMS[surface])
    openapi.install(app)
    app.add_middleware(StraightFrame, routers=ROUTERS[surface])
    app.add_middleware(LoadFrame)
    app.add_middleware(RequestFrame, timed=surface is not Surface.CALLBACKS)
    app.add_middleware(TrustedProxies, trusted=settings.trusted_proxies)
    _serve(app, _routers(settings, surface))
    if surface is not Surface.CALLBACKS:
        app.router.routes.append(door.route())
    return app


def _routers(settings: Settings, surface: Surface) -> Iterator[APIRouter]:
    yield from ROUTERS[surface]
    if settings.admin_key:
        yield from ADMIN[surface]
    if surface is not Surface.CALLBACKS:
        yield from _numbers(settings)
        yield from docs.ROUTERS[settings.docs]


def _lifespan(settings: Settings, *, worker: bool, kind: str = "serve") -> Lifespan[FastAPI]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        traced = config.exports_traces()
        async with wired(settings, _dsn(settings), traced=traced) as services:
            trouble = await services.health.schema_trouble()
            if trouble is not None:
                raise SchemaError(trouble)
            if not settings.allow_unsafe_fsync:
                trouble = await services.health.fsync_trouble()
                if trouble is not None:
                    raise UnsafeDatabaseError(trouble)
            app.state.services = services
            working = loops(services) if worker else ()
            for warning in concerns(settings):
                logger.warning("settings.concern", concern=warning)
            async with at_work(services, working, kind):
                yield

    return lifespan


def create_worker(settings: Settings) -> FastAPI:
    """Build the worker: the loops, and the few paths that show how they are."""
    app = _bare("kie-gateway worker", _logged(_lifespan(settings, worker=True, kind="worker")))
    _serve(app, (health.live, health.inside, *_numbers(settings)))
    return app


def create_monitor(of: Starlette) -> FastAPI:
    """Build what shows how the application `of` is, for a port of its own; starts after it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = of.state.services
        yield

    app = _bare("kie-gateway metrics", lifespan)
    _serve(app, (health.live, health.inside, health.numbers))
    return app


def _bare(title: str, lifespan: Lifespan[FastAPI]) -> FastAPI:
    """Build an application for our own platform only."""
    app = FastAPI(
        title=title,
        lifespan=lifespan,
        openapi_url=None,
        telemetry=UNTRACED,
        redirect_slashes=False,
    )
    errors.install(app)
    app.add_middleware(RequestFrame)
    return app


def _serve(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Take the routes as they are: `include_router` would build each again, checks and all."""
    for router in routers:
        app.router.routes.extend(router.routes)


def _numbers(settings: Settings) -> Sequence[APIRouter]:
    """Return where `/metrics` is, unless it has a port of its own."""
    return () if settings.metrics_listen else (health.numbers,)


def _logged(inner: Lifespan[FastAPI]) -> Lifespan[FastAPI]:
    """Log the start and the end of a worker: it has no callers who would notice."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with inner(app):
            logger.info("worker.started")
            yield
            logger.info("worker.draining")
        logger.info("worker.stopped")

    return lifespan


def _dsn(settings: Settings) -> str:
    if settings.dsn is None:
        raise SettingsError(["GATEWAY_DATABASE_URL: is not set; name your PostgreSQL"])
    return settings.dsn
