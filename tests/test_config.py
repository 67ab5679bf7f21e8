"""The settings: all read, bounded and documented, every mistake reported, no secret shown."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.config import Address, Settings, SettingsError, load, normalise_database_url
from app.config.concerns import concerns
from tests.each import each

ROOT = Path(__file__).parents[1]
SECRET = "hunter2-tR7wq9ZcLpXv4s"
DATABASE = f"postgresql://me:{SECRET}@db.example.com/app"
SECRETS = {
    "DATABASE_URL": DATABASE,
    "DATABASE_LISTEN_URL": DATABASE,
    "DATABASE_OWNER_PASSWORD": SECRET,
    "DATABASE_APP_PASSWORD": SECRET,
    "DATABASE_RECEIVER_PASSWORD": SECRET,
    "SECRET_KEYS": json.dumps([SECRET]),
    "CALLBACK_KEYS": json.dumps([SECRET]),
    "ADMIN_KEY": SECRET,
    "KIE_API_KEY": SECRET,
    "KIE_WEBHOOK_HMAC_KEYS": json.dumps([SECRET]),
    "EGRESS_PROXY": f"http://me:{SECRET}@proxy.example.com:3128",
}
BROKEN_SECRETS = {
    "DATABASE_URL": f"mysql://me:{SECRET}@db.example.com/app",
    "DATABASE_LISTEN_URL": f"postgresql://me:{SECRET}/@db.example.com:x/app",
    "DATABASE_OWNER_PASSWORD": f"{SECRET} {SECRET}",
    "DATABASE_APP_PASSWORD": f"{SECRET}é",
    "DATABASE_RECEIVER_PASSWORD": f"{SECRET}\n",
    "SECRET_KEYS": f'["{SECRET}"',
    "CALLBACK_KEYS": f'["{SECRET}"',
    "ADMIN_KEY": f"{SECRET}\n",
    "KIE_API_KEY": f"{SECRET} {SECRET}",
    "KIE_WEBHOOK_HMAC_KEYS": SECRET,
    "EGRESS_PROXY": f"me:{SECRET}@proxy.example.com:3128",
}


def environ(**values: str) -> dict[str, str]:
    return {f"GATEWAY_{name}": value for name, value in values.items()}


def problems(**values: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ(**values))
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value.problems


def problem(**values: str) -> str:
    (line,) = problems(**values)
    return line


def test_the_defaults_are_the_designs() -> None:
    settings = load({})
    assert settings.database_url is None
    assert settings.kie_base_url == "https://api.kie.ai"
    assert settings.kie_timeout == 30.0
    assert isinstance(settings.kie_timeout, float)
    assert settings.listen == ("0.0.0.0", 8000)  # noqa: S104
    assert sum(settings.delivery_schedule) >= 72 * 3600, "promise 6"
    assert load({}) == Settings() == settings


def test_every_kind_of_value_is_read() -> None:
    settings = load(
        {"PATH": "/bin", "gateway_log_level": "DEBUG"}
        | environ(
            LISTEN="[::1]:8000",
            DATA_DIR="/var/lib/kie-gateway",
            KIE_MAX_RUNNING="7",
            KIE_QUERIES_PER_SECOND="2.5",
            KIE_CONFIRM="Before",
            DELIVERY_SCHEDULE="[0, 1.5]",
            DELIVERY_BLOCKED_NETWORKS='["10.0.0.0/8", "fd00::/8"]',
            DELIVERY_ALLOW_LOOPBACK="true",
            PUBLIC_URL="",
        )
    )
    assert settings.listen == Address("::1", 8000)
    assert str(settings.listen) == "[::1]:8000"
    assert settings.data_dir == Path("/var/lib/kie-gateway")
    assert (settings.kie_max_running, settings.kie_queries_per_second) == (7, 2.5)
    assert (settings.kie_confirm, settings.log_level) == ("before", "debug")
    assert list(settings.delivery_schedule) == [0, 1.5]
    assert [str(network) for network in settings.delivery_blocked_networks] == [
        "10.0.0.0/8",
        "fd00::/8",
    ]
    assert settings.delivery_allow_loopback
    assert settings.public_url is None, "empty is unset"


def test_the_processs_own_environment_is_read_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_MAX_BODY_BYTES", "2048")
    assert load().max_body_bytes == 2048
    assert load({}).max_body_bytes == Settings().max_body_bytes == 1_048_576


def test_overrides_win_and_are_checked() -> None:
    settings = load(environ(LISTEN="127.0.0.1:1"), listen="127.0.0.1:2", secret_keys=[SECRET])
    assert settings.listen.port == 2
    assert settings.secret_keys[0].get_secret_value() == SECRET
    with pytest.raises(SettingsError, match="GATEWAY_LISTEN: should be host:port"):
        load({}, listen="127.0.0.1")


@pytest.mark.parametrize("end", ["", "/", "/api/v1", "/api/v1/"])
@pytest.mark.parametrize("start", ["https://api.kie.ai", "http://proxy.internal:81/kie"])
def test_the_base_url_may_have_the_apis_path_in_it(start: str, end: str) -> None:
    assert load(environ(KIE_BASE_URL=start + end)).kie_base_url == start
    assert load(environ(PUBLIC_URL=start + "/api/v1")).public_url == start + "/api/v1"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load({}).kie_timeout = 1  # type: ignore[misc]


@each(
    ("name", "value", "expected"),
    [
        ("LISTEN", "8000", "should be host:port; write"),
        ("LISTEN", "::1:8000", "should be host:port; write"),
        ("WORKER_LISTEN", "0.0.0.0:65536", "should be host:port; write"),
        ("KIE_MAX_RUNNING", "0", "should be greater than or equal to 1; correct it, or leave"),
        ("KIE_TIMEOUT", "0", "should be greater than 0"),
        ("KIE_TIMEOUT", "30s", "valid number"),
        ("SUBMIT_WAIT", "-1", "should be greater than or equal to 0"),
        ("SUBMIT_WITHIN", "inf", "should be"),
        ("TASK_EXPIRES_AFTER", "nan", "should be"),
        ("KIE_CONFIRM", "maybe", "should be 'auto', 'before', 'after' or 'off'"),
        ("LOG_LEVEL", "loud", "should be 'debug', 'info'"),
        ("DELIVERY_SCHEDULE", "[]", "one or more waits"),
        ("DELIVERY_SCHEDULE", "[5, 0]", "none shorter than the one before"),
        ("DELIVERY_SCHEDULE", "0, 5", "should be a JSON list"),
        ("DELIVERY_SCHEDULE", "5", "should be a JSON list"),
        ("DELIVERY_ALLOW_LOOPBACK", "perhaps", "valid boolean"),
        ("CA_BUNDLE", "/nowhere/ca.pem", "does not point to a file"),
        ("MAX_BODY_BYTES", "1", "greater than or equal to 1024"),
        ("PUBLIC_URL", "gateway.example.com", "http or https URL; write"),
        ("PUBLIC_URL", "ftp://gateway.example.com", "http or https URL; write"),
        ("PUBLIC_URL", "https://", "http or https URL; write"),
        ("PUBLIC_URL", "https://gateway.example.com:port", "http or https URL; write"),
        ("PUBLIC_URL", "https://gateway.example.com/?a=b", "should have no user, query"),
        ("PUBLIC_URL", "https://gateway.example.com/#", "should have no user, query"),
        ("PUBLIC_URL", "https://me:pw@gateway.example.com", "should have no user, query"),
        ("KIE_BASE_URL", "https://api .kie.ai", "should have no user, query"),
    ],
)
def test_a_wrong_value_is_reported_in_one_line(name: str, value: str, expected: str) -> None:
    line = problem(**{name: value})
    assert line.startswith(f"GATEWAY_{name}: ")
    assert expected in line
    assert "; " in line, "what is wrong; what to do"


def test_entries_of_lists_are_named_by_their_place() -> None:
    keys = json.dumps([SECRET, "short", 3])
    assert [line.partition(":")[0] for line in problems(SECRET_KEYS=keys)] == [
        "GATEWAY_SECRET_KEYS[1]",
        "GATEWAY_SECRET_KEYS[2]",
    ]
    assert "[0]" in problem(DELIVERY_BLOCKED_NETWORKS='["10.0.0.1/8"]')


def test_all_problems_are_reported_at_once() -> None:
    found = problems(PUBLC_URL="", KIE_TIMEOUT="x", LISTEN="x", KIE_API_KEY_FILE="/nowhere")
    assert len(found) == 4


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_in_no_repr_and_no_error(name: str) -> None:
    good = SECRETS | {"SUBMIT_WAIT": "1"}
    settings = load(environ(**good))
    assert SECRET not in repr(settings) + str(settings) + repr(settings.model_dump())
    found = problems(**(good | {name: BROKEN_SECRETS[name]}))
    assert found[0].startswith(f"GATEWAY_{name}")
    assert SECRET not in "\n".join(found)
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({name.lower(): BROKEN_SECRETS[name]})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_can_be_read_from_files(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRETS[name]}\n")
    rest = {other: SECRETS[other] for other in SECRETS if other != name}
    assert load(environ(**rest, **{f"{name}_FILE": str(file)})) == load(environ(**SECRETS))
    assert f"is set beside GATEWAY_{name}" in problem(**SECRETS, **{f"{name}_FILE": str(file)})


def test_a_file_of_keys_may_hold_one_per_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"\n  {SECRET}-1\n{SECRET}-2\r\n\n")
    keys = load(environ(SECRET_KEYS_FILE=str(file))).secret_keys
    assert [key.get_secret_value() for key in keys] == [f"{SECRET}-1", f"{SECRET}-2"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing, empty, binary = (tmp_path / name for name in ("missing", "empty", "binary"))
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    for file, reason in {missing: "No such file", empty: "is empty", binary: "not UTF-8"}.items():
        line = problem(ADMIN_KEY_FILE=str(file))
        assert line.startswith("GATEWAY_ADMIN_KEY_FILE: ")
        assert str(file) in line
        assert reason in line


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PUBLC_URL", "PUBLIC_URL"),
        ("KIE_APIKEY", "KIE_API_KEY"),
        ("SECRET_KEY_FILE", "SECRET_KEYS_FILE"),
        ("PUBLIC_URL_FILE", "PUBLIC_URL"),
        ("SERVICES", "SECRET_KEYS"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    assert problem(**{name: "x"}).endswith(f"did you mean GATEWAY_{nearest}?")


def test_the_names_that_kubernetes_sets_are_ignored() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP_ADDR")
    assert load(environ(**dict.fromkeys(names, "tcp://10.0.0.1:8000"))) == load({})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"SUBMIT_WAIT": "31"}, "GATEWAY_SUBMIT_WAIT: is longer than GATEWAY_KIE_TIMEOUT"),
        ({"KIE_TIMEOUT": "46"}, "GATEWAY_KIE_TIMEOUT: a create that is sent just before SIGTERM"),
        ({"SHUTDOWN_LINGER": "41"}, "GATEWAY_SHUTDOWN_LINGER: leaves requests less than 5 s"),
        ({"WORKER_LISTEN": "0.0.0.0:8000"}, "GATEWAY_WORKER_LISTEN: is the same address"),
        ({"DATABASE_LISTEN_URL": DATABASE}, "GATEWAY_DATABASE_LISTEN_URL: is set without"),
    ],
)
def test_impossible_combinations_are_explained(values: dict[str, str], expected: str) -> None:
    assert problem(**values).startswith(expected)


def test_any_free_port_may_be_asked_for_twice() -> None:
    load(environ(LISTEN="127.0.0.1:0", WORKER_LISTEN="127.0.0.1:0"))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://gateway.example.com/", "https://gateway.example.com"),
        ("https://gateway.example.com/kie/", "https://gateway.example.com/kie"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_public_url_is_ready_for_paths(url: str, kept: str) -> None:
    assert load(environ(PUBLIC_URL=url)).public_url == kept


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["polling only: "]),
        (
            {"PUBLIC_URL": "https://gateway.example.com", "KIE_API_KEY": ""},
            ["GATEWAY_KIE_API_KEY is not set: "],
        ),
        ({"PUBLIC_URL": "https://gateway.example.com"}, []),
        ({"PUBLIC_URL": "http://gateway.example.com"}, ["GATEWAY_PUBLIC_URL is http: "]),
        ({"PUBLIC_URL": "http://10.0.0.1"}, ["GATEWAY_PUBLIC_URL is http: "]),
        ({"PUBLIC_URL": "http://127.8.0.1:8000"}, []),
        ({"PUBLIC_URL": "http://[::1]:8000"}, []),
        ({"PUBLIC_URL": "http://localhost:8000"}, []),
        (
            {"PUBLIC_URL": "https://g.example", "KIE_CONFIRM": "off"},
            ["GATEWAY_KIE_CONFIRM is off and "],
        ),
        (
            {"PUBLIC_URL": "https://g.example", "KIE_BASE_URL": "http://simulator:9000"},
            ["GATEWAY_KIE_BASE_URL is http: "],
        ),
    ],
)
def test_what_is_risky_is_warned_about(values: dict[str, str], expected: list[str]) -> None:
    warnings = concerns(load(environ(**{"KIE_API_KEY": "k", **values})))
    assert len(warnings) == len(expected)
    assert all(line.startswith(start) for line, start in zip(warnings, expected, strict=True))


# --- database URLs ------------------------------------------------------------------------------

URLS = {
    "Heroku": (
        "postgres://u:p@ec2.example.com:5432/db",
        "postgresql://u:p@ec2.example.com:5432/db",
    ),
    "Neon": (
        "postgresql://u:p@ep.aws.neon.tech/db?sslmode=require&channel_binding=require",
        "postgresql://u:p@ep.aws.neon.tech/db?sslmode=require",
    ),
    "Neon without SNI": (
        "postgresql://u:p@ep.aws.neon.tech/db?options=endpoint%3Dep&sslmode=require",
        "postgresql://u:p@ep.aws.neon.tech/db?options=endpoint%3Dep&sslmode=require",
    ),
    "Amazon RDS": (
        "postgresql://u:p@db.rds.amazonaws.com/db?sslmode=verify-full&sslrootcert=/certs/rds.pem",
        "postgresql://u:p@db.rds.amazonaws.com/db?sslmode=verify-full&sslrootcert=/certs/rds.pem",
    ),
    "Supabase": (
        "postgres://u.ref:p@h:6543/db?pgbouncer=true",
        "postgresql://u.ref:p@h:6543/db?statement_cache_size=0",
    ),
    "Prisma": (
        "postgresql://u:p@h/db?schema=public&connection_limit=1&sslaccept=strict",
        "postgresql://u:p@h/db",
    ),
    "SQLAlchemy": (
        "postgresql+asyncpg://u:p@h/db?ssl=require&prepared_statement_cache_size=0",
        "postgresql://u:p@h/db?sslmode=require&statement_cache_size=0",
    ),
    "node": ("postgres://u:p@h/db?ssl=true", "postgresql://u:p@h/db?sslmode=require"),
    "libpq": (
        "postgresql://u:p@h/db?connect_timeout=9&keepalives=1&application_name=my%20gateway&sslmode=",
        "postgresql://u:p@h/db?application_name=my%20gateway",
    ),
    "several hosts": (
        "postgresql://u:p@h1:5432,h2/db?target_session_attrs=read-write",
        "postgresql://u:p@h1:5432,h2/db?target_session_attrs=read-write",
    ),
    "socket": (
        "postgresql:///db?host=/run/postgresql&user=u",
        "postgresql:///db?host=/run/postgresql&user=u",
    ),
    "encoded socket": ("postgres://u@%2Frun%2Fpg/db", "postgresql://u@%2Frun%2Fpg/db"),
    "IPv6": (" postgres://u:p@[::1]:5432/db\n", "postgresql://u:p@[::1]:5432/db"),
    "odd password": ("postgres://u:p@:%%2F&@h/db", "postgresql://u:p%40%3A%25%2F%26@h/db"),
}
NO_URLS = {
    f"mysql://u:{SECRET}@h/db": "not a PostgreSQL URL",
    f"sqlite:///{SECRET}.db": "not a PostgreSQL URL",
    f"host=h password={SECRET}": "not a PostgreSQL URL",
    f"psql 'postgresql://u:{SECRET}@h/db'": "not a PostgreSQL URL",
    f"postgres://u:{SECRET}/x@h/db": "percent-encode",
    f"postgres://u:{SECRET}#x@h/db": "percent-encode",
    f"postgres://u:12/{SECRET}@h/db": "percent-encode",
    f"postgres://u:12?{SECRET}@h/db": "percent-encode",
    f"postgres://u:{SECRET}@[::1/db": "percent-encode",
    f"postgres://u:{SECRET}@h\u2100/db": "percent-encode",
    f"postgres://u:{SECRET}@h:port/db": "percent-encode",
    f"postgres://u:{SECRET}@h/db?port=x": "port that is not a number",
    f"postgres://u:{SECRET}@h/db?sslmode=no-verify": "unknown sslmode",
    f"postgres://u:{SECRET}@h/db?sslmode=verify-full&sslrootcert=system": "only libpq knows",
}


@each("console", URLS)
def test_database_urls_are_taken_as_consoles_print_them(console: str) -> None:
    printed, kept = URLS[console]
    assert normalise_database_url(printed) == kept
    assert normalise_database_url(kept) == kept
    settings = load(environ(DATABASE_URL=printed))
    assert settings.database_url
    assert settings.database_url.get_secret_value() == kept


def parsed_by_asyncpg(dsn: str) -> Any:
    connect_utils: Any = importlib.import_module("asyncpg.connect_utils")
    names = (
        *("host", "port", "user", "password", "passfile", "database", "ssl", "service"),
        *("servicefile", "direct_tls", "server_settings", "target_session_attrs"),
        *("krbsrvname", "gsslib"),
    )
    return connect_utils._parse_connect_dsn_and_args(dsn=dsn, **dict.fromkeys(names))


@each("console", sorted(URLS.keys() - {"Amazon RDS"}))  # has no such file
def test_asyncpg_reads_the_result_and_sends_the_server_only_its_own_settings(console: str) -> None:
    addresses, parameters = parsed_by_asyncpg(URLS[console][1])
    assert addresses
    assert parameters.database == "db"
    ours = {"statement_cache_size"}  # taken out before asyncpg sees it
    assert set(parameters.server_settings or ()) - ours <= {"application_name", "options"}


def test_asyncpg_reads_the_odd_password_as_it_was_meant() -> None:
    _, parameters = parsed_by_asyncpg(URLS["odd password"][1])
    assert parameters.password == "p@:%/&"


@each("url", NO_URLS)
def test_other_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(ValueError, match=NO_URLS[url]) as caught:
        normalise_database_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert SECRET not in problem(DATABASE_URL=url)


def test_every_setting_is_described_in_one_sentence() -> None:
    for field in Settings.model_fields.values():
        assert field.description
        assert field.description.endswith(".")
        assert "|" not in field.description


@each(
    ("url", "is_told"),
    [
        ("postgresql://me@db.example.com/app", True),
        ("postgresql://me@10.0.0.1:5432/app?sslmode=require", True),
        ("postgresql://me@localhost,db2/app?sslmode=verify-ca", True),
        ("postgresql://me@[2001:db8::1]:5432/app", True),
        ("postgresql:///app?host=db.example.com", True),
        ("postgresql://me@db.example.com/app?sslmode=verify-full", False),
        ("postgresql://me@localhost/app", False),
        ("postgresql://me@127.0.0.1:5432/app", False),
        ("postgresql://me@[::1]/app", False),
        ("postgresql://me@%2Fvar%2Frun/app", False),
        ("postgresql:///app?host=/var/run", False),
    ],
)
@each("name", ["DATABASE_URL", "DATABASE_LISTEN_URL"])
def test_postgresql_over_a_network_has_to_prove_itself(name: str, url: str, is_told: bool) -> None:  # noqa: FBT001  # a case
    near = {"DATABASE_URL": "postgresql://me@localhost/app"}
    found = concerns(load(environ(**{**near, name: url})))
    assert any("verify-full" in one for one in found) is is_told
