"""The settings themselves: names, defaults, bounds, and which exclude each other."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    IPvAnyNetwork,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from app.config.archive import ArchiveSettings
from app.config.conflicts import conflicts
from app.config.database_url import without_statement_cache
from app.config.limits import LimitSettings
from app.config.uploads import UploadSettings
from app.config.values import (
    Address,
    BalanceEvery,
    DatabaseUrl,
    KeptDays,
    ListenAddress,
    Seconds,
    Token,
    UnexplainedCredits,
    UnknownCost,
    Wait,
    WebUrl,
    listed,
    lowered,
    proxied,
    rising,
    strong,
    without_api_path,
)

PREFIX = "GATEWAY_"


class Settings(ArchiveSettings, LimitSettings, UploadSettings, BaseSettings):
    """Every setting, checked; made by `load()`, or from keyword arguments in tests."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        enable_decoding=False,  # `listed` reads lists, so that all problems are reported at once
        hide_input_in_errors=True,
    )

    database_url: DatabaseUrl | None = Field(
        None,
        description="PostgreSQL, as its console prints the URL; none: an embedded server, "
        "when the extra `embedded` is installed.",
    )
    database_listen_url: DatabaseUrl | None = Field(
        None,
        description="Direct URL for LISTEN, when `GATEWAY_DATABASE_URL` goes through PgBouncer; "
        "none: the same URL.",
    )
    database_statement_cache: bool = Field(
        True,
        description="Prepare statements once for each connection. Off for a PgBouncer before 1.21 "
        "in transaction mode, at the cost of a round trip for each statement.",
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        le=1000,
        description="Connections per process; two fifths of them, and two where possible, are "
        "kept for the loops, callbacks and records, and no caller's request takes them.",
    )
    database_owner_password: Token | None = Field(
        None, description="What `migrate --roles` sets for the role that owns the tables."
    )
    database_app_password: Token | None = Field(
        None, description="What `migrate --roles` sets for the role of `serve` and `worker`."
    )
    database_receiver_password: Token | None = Field(
        None,
        description="What `migrate --roles` sets for the role of `serve --surface callbacks "
        "--no-worker`.",
    )
    allow_unsafe_fsync: bool = Field(
        default=False,
        description="Whether to serve from a PostgreSQL with `fsync = off`: when its machine "
        "stops, tasks may be paid twice.",
    )
    data_dir: Path = Field(
        Path(".kie-gateway"), description="Directory of the embedded PostgreSQL."
    )
    public_url: WebUrl | None = Field(
        None,
        description="Where kie.ai reaches this gateway, a path prefix included; "
        "none: no callbacks, tasks are settled by polling only.",
    )
    secret_keys: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(strong)], ...], BeforeValidator(listed)
    ] = Field(
        (),
        description="Secrets of 16 or more characters: the first signs callback URLs and encrypts, "
        "all verify and decrypt; `demo` and `dev` make one, all else needs it.",
    )
    callback_keys: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(strong)], ...], BeforeValidator(listed)
    ] = Field(
        (),
        description="Secrets for callback URLs only: the first signs, all verify, and those of "
        "GATEWAY_SECRET_KEYS verify beside them; none: those sign too. With them, a process that "
        "only receives callbacks needs neither GATEWAY_SECRET_KEYS nor GATEWAY_KIE_API_KEY.",
    )
    admin_key: Annotated[Token, AfterValidator(strong)] | None = Field(
        None,
        description="Bearer key of the admin API, 16 or more characters; none: the admin API is "
        "off.",
    )
    kie_api_key: Token | None = Field(None, description="The account's API key at kie.ai.")
    kie_base_url: Annotated[WebUrl, AfterValidator(without_api_path)] = Field(
        "https://api.kie.ai",
        description="kie.ai's API; an `/api/v1` at its end is dropped.",
    )
    kie_webhook_hmac_keys: Annotated[tuple[Token, ...], BeforeValidator(listed)] = Field(
        (), description="kie.ai's webhook HMAC keys; none: callbacks are only known by their URL."
    )
    callback_token_days: int = Field(
        30,
        ge=1,
        le=36_500,
        description="Days after a task's final state for which its callback URL is good; 404 then.",
    )
    kie_creates_per_10s: int = Field(
        20,
        ge=1,
        le=10_000,
        description="The account's limit of creates in any 10 seconds, over all replicas.",
    )
    kie_create_window: Seconds = Field(
        10,
        description="The seconds that GATEWAY_KIE_CREATES_PER_10S counts in; kie.ai's are 10, "
        "and anything else is for tests.",
    )
    kie_max_running: int = Field(
        100,
        ge=1,
        description="The account's limit of tasks running at once, over all replicas.",
    )
    client_running_share: float = Field(
        0.9,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="The share of GATEWAY_KIE_MAX_RUNNING that one client may have while another "
        "client has a key; clients may have a share of their own.",
    )
    client_queued_tasks: int = Field(
        10_000,
        ge=1,
        le=2_000_000_000,
        description="How many tasks of one client may wait to be sent; over it, creates are "
        "answered 429 `queue_full`. Clients may have a number of their own.",
    )
    client_queued_bytes: int = Field(
        2**30,
        ge=1,
        le=2**62,
        description="Bytes of these tasks' inputs in all; clients may have a number of their own.",
    )
    budget_unknown_model_cost: UnknownCost = None
    balance_every: BalanceEvery = 300
    unexplained_alert_credits: UnexplainedCredits = Decimal(0)
    kie_queries_per_second: float = Field(
        10,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="The account's limit of queries to kie.ai per second, over all replicas.",
    )
    kie_confirm: Annotated[Literal["auto", "before", "after", "off"], BeforeValidator(lowered)] = (
        Field(
            "auto",
            description="Whether kie.ai is asked about what a callback says: `before` it settles "
            "the task, `after`, or not at all (`off`). `auto` is `after` with HMAC keys, which "
            "forgers lack, and `before` without.",
        )
    )
    kie_timeout: Seconds = Field(30, description="Longest that one call to kie.ai may take.")
    shutdown_timeout: Seconds = Field(
        50,
        description="Longest that a process takes from SIGTERM to its end, for requests and calls "
        "to kie.ai together; give it 10 s more before it is killed.",
    )
    shutdown_linger: Wait = Field(
        5,
        description="How long after SIGTERM `serve` still answers, each time with "
        "`Connection: close`, while `/readyz` says 503: longer than a proxy in front takes to "
        "notice, or to close an idle connection. Ctrl-C skips it.",
    )
    kie_max_answer_bytes: int = Field(
        16_777_216,
        ge=1_048_576,
        le=268_435_456,
        description="Largest answer or callback of kie.ai's that is read. It echoes the "
        "whole input, escaped twice: several times GATEWAY_MAX_BODY_BYTES.",
    )
    submit_wait: Wait = Field(
        3, description="Longest that creating a task waits for kie.ai before it answers anyway."
    )
    submit_within: Seconds = Field(
        3600, description="How long a task may wait to be sent before it fails, unless it says."
    )
    task_expires_after: Seconds = Field(
        3600, description="How long a running task is asked about before it counts as expired."
    )
    unconfirmed_expires_after: Seconds = Field(
        3600, description="How long a task whose create was not answered may stay unconfirmed."
    )
    delivery_schedule: Annotated[
        tuple[Wait, ...], BeforeValidator(listed), AfterValidator(rising)
    ] = Field(
        (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        description="Waits before each try of a webhook to a caller; ten tries over 75 hours.",
    )
    delivery_timeout: Seconds = Field(15, description="Longest that one such try may take.")
    delivery_allow_loopback: bool = Field(
        default=False,
        description="Whether callers' webhooks may go to loopback addresses.",
    )
    delivery_blocked_networks: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(listed)] = (
        Field(
            (),
            description="Networks that callers' webhooks may not go to, beside those that are "
            "always closed.",
        )
    )
    delivery_private_networks: Literal["open", "listed", "closed"] = Field(
        "open",
        description="Whether callers' webhooks may go to private networks (RFC 1918, RFC 4193): "
        "always, only to hosts that the client's webhook hosts name, or never. All other networks "
        "for special purposes are closed.",
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1024, le=104_857_600, description="Largest request body that is read."
    )
    max_json_values: int = Field(
        100_000,
        ge=1000,
        le=10_000_000,
        description="Members, items, objects and lists that a request body may have: each takes "
        "about a microsecond in which nothing else is done. Long texts count once.",
    )
    max_concurrent_requests: int = Field(
        500,
        ge=10,
        le=100_000,
        description="Requests under way per process, but for callbacks, health and those that "
        "only wait; over it, the client with most of them is answered 429.",
    )
    max_bytes_in_flight: int = Field(
        67_108_864,
        ge=1_048_576,
        le=17_179_869_184,
        description="Bytes of request bodies and answers under way per process; over it, the "
        "client with most of them is answered 429. Each takes up to four bytes of memory.",
    )
    max_header_bytes: int = Field(
        65_536, ge=1024, le=1_048_576, description="Largest URL and headers of a request."
    )
    header_timeout: Seconds = Field(
        10, description="Longest that a request's headers may take to arrive."
    )
    body_timeout: Seconds = Field(30, description="Longest that a request's body may take.")
    idle_timeout: Seconds = Field(
        75,
        description="How long an idle connection is kept: longer than proxies keep theirs, so that "
        "they never send a request on one that was just closed.",
    )
    max_connections: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="Connections without a complete request; of more, the one that waits longest "
        "is closed.",
    )
    client_requests_per_second: int = Field(
        50,
        ge=1,
        le=100_000,
        description="Requests per second of one client to one process, twice as many at once; "
        "`clients set` gives a client another limit, of this and of the next two.",
    )
    client_streams: int = Field(
        20, ge=1, le=100_000, description="Streams that one client may have open at one process."
    )
    client_redeliveries_per_minute: int = Field(
        600,
        ge=1,
        le=1_000_000,
        description="Deliveries that one client may have repeated by one process per minute; a "
        "sixth of them at once.",
    )
    client_waits: int = Field(
        200, ge=1, le=100_000, description="Answers held by `wait`, of one client by one process."
    )
    max_held: int = Field(
        10_000,
        ge=10,
        le=1_000_000,
        description="Streams and held waits of a process together; no client may have more than a "
        "tenth of it.",
    )
    listen: ListenAddress = Field(
        Address("0.0.0.0", 8000),  # noqa: S104 -- a container is reached from outside itself
        description="Where the API listens.",
    )
    worker_listen: ListenAddress = Field(
        Address("0.0.0.0", 8001),  # noqa: S104 -- as above
        description="Where a worker process answers health checks and metrics.",
    )
    metrics_listen: ListenAddress | None = Field(
        None,
        description="Where this process serves `/metrics`, `/livez` and a `/readyz` with reasons, "
        "also with `--surface callbacks`; `/metrics` is then not on the other port. None: "
        "`/metrics` is on the API's or the worker's own port.",
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(listed)] = Field(
        (),
        description="Networks of the proxies whose `X-Forwarded-For` is believed, to know a "
        "caller's address; none: nobody's.",
    )
    docs: Annotated[Literal["on", "admin", "off"], BeforeValidator(lowered)] = Field(
        "on",
        description="Who may read `/docs` and `/openapi.json`: everybody who reaches them, who has "
        "`GATEWAY_ADMIN_KEY` (`admin`; as a Bearer key, or as the password that the browser asks "
        "for), or nobody.",
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(lowered)
    ] = Field("info", description="The least severe level that is logged.")
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(lowered)] = Field(
        "auto", description="`auto` is `console` on a terminal, else `json`, one object per line."
    )
    ca_bundle: FilePath | None = Field(
        None,
        description="PEM file of certificates to trust: towards kie.ai instead of the system's, "
        "towards callers' webhooks beside them.",
    )
    egress_proxy: Annotated[SecretStr, AfterValidator(proxied)] | None = Field(
        None, description="HTTP proxy towards kie.ai."
    )
    retention_days: KeptDays = Field(
        90, description="Days from its final state until a task goes, with all below it; 0: never."
    )
    raw_retention_days: KeptDays = Field(
        14, description="Days until bodies, headers and answers are emptied; 0: as their task goes."
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword arguments only: `load()` is the one reader of the environment."""
        return (init_settings,)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = conflicts(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def receives_only(self) -> bool:
        """Whether the process can check callback URLs and nothing else."""
        return bool(self.callback_keys) and not self.secret_keys

    @property
    def dsn(self) -> str | None:
        """The database's URL as we connect to it; None: an embedded server's is to be filled in."""
        if self.database_url is None:
            return None
        url = self.database_url.get_secret_value()
        return url if self.database_statement_cache else without_statement_cache(url)


def variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
