"""What the settings say, as the values that services are built with."""

from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from uuid import UUID

from pydantic import SecretStr

from app.config import Settings, variable
from app.domain.admission import Limit, Limits, QueueBounds
from app.domain.limits import ClientLimits
from app.domain.load import Bounds
from app.domain.policy import Confirm, Policy
from app.domain.replicas import SHARED_SETTINGS, fingerprint
from app.domain.retention import Retention, retention
from app.domain.uploads import UploadTerms
from app.outbound.guard import Guard, PrivateNetworks, PublicGuard
from app.services.account.witness import Self
from app.services.files.archiver import Terms
from app.services.services import ApiSettings


def guard_of(settings: Settings) -> Guard:
    """Judge addresses that callers are notified at."""
    return Guard(
        allow_loopback=settings.delivery_allow_loopback,
        blocked=settings.delivery_blocked_networks,
        private=PrivateNetworks(settings.delivery_private_networks),
    )


def files_guard(settings: Settings) -> PublicGuard:
    """Judge addresses that results are fetched from, for the archive."""
    return PublicGuard(
        allow_loopback=settings.archive_allow_loopback, blocked=settings.delivery_blocked_networks
    )


def inputs_guard(settings: Settings) -> PublicGuard:
    """Judge addresses that callers have files fetched from, for kie.ai."""
    return PublicGuard(
        allow_loopback=settings.upload_allow_loopback, blocked=settings.delivery_blocked_networks
    )


def egress_proxy(settings: Settings) -> str | None:
    """Return the URL of the proxy that leads outside, with its credentials."""
    return settings.egress_proxy.get_secret_value() if settings.egress_proxy else None


def ca_bundle(settings: Settings) -> str | None:
    """Return the file of certificates to trust."""
    return str(settings.ca_bundle) if settings.ca_bundle else None


def archive_terms(settings: Settings) -> Terms:
    """Return the bounds of copying results."""
    return Terms(
        concurrency=settings.archive_concurrency,
        bytes_in_flight=settings.archive_bytes_in_flight,
        timeout=settings.archive_timeout,
        schedule=settings.archive_schedule,
    )


def upload_terms(settings: Settings) -> UploadTerms:
    """Return the bounds of uploads."""
    return UploadTerms(
        max_bytes=settings.max_upload_bytes,
        stall=settings.upload_stall_timeout,
        types=settings.upload_types,
    )


def retention_of(settings: Settings) -> Retention:
    """Return how long things are kept."""
    return retention(
        days=settings.retention_days,
        raw_days=settings.raw_retention_days,
        token_days=settings.callback_token_days,
    )


def bounds(settings: Settings) -> Bounds:
    """Return what may be under way at once."""
    return Bounds(requests=settings.max_concurrent_requests, size=settings.max_bytes_in_flight)


def api_settings(settings: Settings) -> ApiSettings:
    """Return what the routes are bounded by."""
    return ApiSettings(
        max_body_bytes=settings.max_body_bytes,
        max_json_values=settings.max_json_values,
        max_callback_bytes=settings.kie_max_answer_bytes,
        submit_wait=settings.submit_wait,
    )


def client_limits(settings: Settings) -> ClientLimits:
    """Return what each client is allowed, unless it is set otherwise."""
    return ClientLimits(
        requests_per_second=settings.client_requests_per_second,
        streams=settings.client_streams,
        waits=settings.client_waits,
        uploads=settings.client_uploads,
        uploads_per_minute=settings.client_uploads_per_minute,
        max_uploads=settings.max_uploads,
        max_held=settings.max_held,
    )


def ourselves_as(settings: Settings, me: UUID, started_at: datetime) -> Self:
    """Return what the process tells the others of itself: so they notice where they differ."""
    found = {name: getattr(settings, name) for name in Settings.model_fields}
    shared = {name: found[name] for name in found if variable(name) in SHARED_SETTINGS}
    secrets_of = {name: shared.pop(name) for name in ("secret_keys", "callback_keys")}
    kie_api_key = shared.pop("kie_api_key")
    # Whose limits they are matters only where kie.ai is called.
    values = {} if settings.receives_only else {name: str(value) for name, value in shared.items()}
    if settings.secret_keys:
        values["secret_keys"] = _fingerprint_of(secrets_of["secret_keys"])
    # Who has none signs with the others: that differs from who has some.
    values["callback_keys"] = _fingerprint_of(secrets_of["callback_keys"])
    if kie_api_key is not None:
        values["kie_api_key"] = fingerprint(kie_api_key.get_secret_value())
    return Self(
        id=me,
        version=metadata.version("kie-gateway"),
        started_at=started_at,
        fingerprints={variable(name): value for name, value in values.items()},
    )


def _fingerprint_of(keys: Sequence[SecretStr]) -> str:
    return fingerprint(" ".join(key.get_secret_value() for key in keys))


def _confirm(settings: Settings) -> Confirm:
    asked = Confirm(settings.kie_confirm)
    if asked is not Confirm.AUTO:
        return asked
    return Confirm.AFTER if settings.kie_webhook_hmac_keys else Confirm.BEFORE


def policy_of(settings: Settings) -> Policy:
    """Return what the rules of tasks are given."""
    return Policy(
        submit_within=settings.submit_within,
        task_expires_after=settings.task_expires_after,
        unconfirmed_expires_after=settings.unconfirmed_expires_after,
        confirm=_confirm(settings),
        callbacks_expected=settings.public_url is not None or settings.receives_only,
        limits=Limits(
            creates=Limit(calls=settings.kie_creates_per_10s, window=settings.kie_create_window),
            queries=Limit.per_second(settings.kie_queries_per_second),
            running=settings.kie_max_running,
            running_share=settings.client_running_share,
        ),
        queue=QueueBounds(tasks=settings.client_queued_tasks, bytes=settings.client_queued_bytes),
        call=settings.kie_timeout,
        unknown_cost=settings.budget_unknown_model_cost,
        archives=settings.archive_url is not None,
    )
