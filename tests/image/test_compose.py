import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from ruamel.yaml import YAML

from app import config
from app.cli import app
from app.config.concerns import concerns
from app.config.reading import NAMES
from tests.image import compose
from tests.image.context import ROOT

EXAMPLE = ROOT / "gateway.env.example"
SIMULATOR = ROOT / "simulator.env"
TEXT = compose.FILE.read_text(encoding="utf-8")
OURS = ("migrate", "serve", "simulator")
FILLED = {
    "POSTGRES_PASSWORD": "0123abc",
    "GATEWAY_SECRET_KEYS": '["a-secret-that-is-long-enough"]',
    "GATEWAY_DATABASE_APP_PASSWORD": "4567def",
    "GATEWAY_KIE_API_KEY": "sk-1",
    "GATEWAY_PUBLIC_URL": "https://gateway.example.com",
}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Lend a directory with the example, filled in."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for name, value in FILLED.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, name
    (tmp_path / "gateway.env").write_text(text)
    return tmp_path


def simulated() -> dict[str, dict[str, Any]]:
    return compose.services(compose.variables(SIMULATOR))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_it_is_what_the_specification_allows() -> None:
    done = subprocess.run(  # noqa: S603  # our own tool
        [
            Path(sys.executable).with_name("check-jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(compose.FILE)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_is_complete_once_it_is_filled_in(filled: Path) -> None:
    found = compose.services(compose.variables(filled / "gateway.env"))
    settings = config.load(compose.environment(found["serve"], filled))
    assert settings.kie_api_key is not None
    assert settings.public_url == FILLED["GATEWAY_PUBLIC_URL"]
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == (
        "postgresql://kie_gateway_app:4567def@db:5432/gateway"
    )
    assert [warning.partition(" ")[0] for warning in concerns(settings)] == [
        "GATEWAY_DATABASE_URL"  # without TLS, inside the project's network
    ]
    assert found["db"]["environment"]["POSTGRES_PASSWORD"] == "0123abc"


def test_the_example_as_it_is_starts_nothing(tmp_path: Path) -> None:
    given = compose.variables(EXAMPLE)
    with pytest.raises(compose.MissingError, match="--env-file"):
        compose.services(given)
    (tmp_path / "gateway.env").write_text(EXAMPLE.read_text(encoding="utf-8"))
    passwords = {"POSTGRES_PASSWORD": "x", "GATEWAY_DATABASE_APP_PASSWORD": "y"}
    found = compose.services({**given, **passwords})
    with pytest.raises(config.SettingsError, match="GATEWAY_SECRET_KEYS"):
        config.load(compose.environment(found["serve"], tmp_path))


def test_without_an_env_file_it_says_which_there_are() -> None:
    with pytest.raises(compose.MissingError, match=r"gateway\.env or --env-file simulator\.env"):
        compose.services({})


def test_the_simulator_and_the_gateway_reach_each_other() -> None:
    found = simulated()
    settings = config.load(compose.environment(found["serve"]))
    vendor = urlsplit(settings.kie_base_url)
    assert found[str(vendor.hostname)]["command"] == [
        *("simulator", "--host", "0.0.0.0", "--port"),  # noqa: S104  # inside the network
        str(vendor.port),
    ]
    gateway = urlsplit(str(settings.public_url))
    assert found[str(gateway.hostname)]["command"] == ["serve"]
    assert gateway.port == settings.listen.port


def test_the_simulator_runs_only_when_asked_for_and_in_a_project_of_its_own() -> None:
    profiles = {name: service.get("profiles") for name, service in simulated().items()}
    assert profiles == {"db": None, "migrate": None, "serve": None, "simulator": ["simulator"]}
    assert compose.variables(SIMULATOR)["COMPOSE_PROJECT_NAME"] != "kie-gateway"
    assert "\nname: kie-gateway\n" in TEXT


@pytest.mark.parametrize("path", [EXAMPLE, SIMULATOR], ids=lambda path: path.name)
def test_every_name_in_an_env_file_is_known(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = set(re.findall(r"^#?([A-Z]\w*)=", text, flags=re.MULTILINE))
    ours = {name for name in names if name.startswith("GATEWAY_")}
    assert ours <= set(NAMES)
    interpolated = set(re.findall(r"\$\{(\w+)", TEXT)) | {"COMPOSE_PROJECT_NAME"}
    assert names - ours <= interpolated


def test_every_name_that_the_file_sets_is_a_setting() -> None:
    for name in OURS:
        given = simulated()[name].get("environment", {})
        assert set(given) - {"POSTGRES_PASSWORD"} <= set(NAMES), name


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_ours(name: str) -> None:
    command = typer.main.get_command(app)
    word, *arguments = simulated()[name]["command"]
    found = getattr(command, "commands", {})[word]
    with found.make_context(word, arguments):
        pass


@pytest.mark.parametrize("name", OURS)
def test_it_gets_no_right_that_it_does_not_need(name: str) -> None:
    service = simulated()[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108  # the container's
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service  # the image's


def test_the_database_is_seen_by_those_that_use_it_only() -> None:
    found = simulated()
    seen = {name: service["networks"] for name, service in found.items()}
    assert seen == {
        "db": ["database"],
        "migrate": ["database"],
        "serve": ["database", "outside"],
        "simulator": ["outside"],
    }
    networks = YAML(typ="safe").load(TEXT)["networks"]
    assert networks == {"database": {"internal": True}, "outside": None}
    assert found["db"]["cap_drop"] == ["ALL"]
    assert found["db"]["security_opt"] == ["no-new-privileges:true"]


def test_each_starts_when_the_one_before_is_fit_for_work() -> None:
    found = simulated()
    assert conditions(found["migrate"]) == {"db": "service_healthy"}
    assert conditions(found["serve"]) == {
        "db": "service_healthy",
        "migrate": "service_completed_successfully",
    }
    assert "/readyz" in found["serve"]["healthcheck"]["test"][-1]
    assert found["migrate"]["restart"] == "no"


def conditions(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: given["condition"] for name, given in service["depends_on"].items()}


def test_it_is_killed_only_after_it_has_drained() -> None:
    grace = seconds(simulated()["serve"]["stop_grace_period"])
    assert grace >= config.Settings().shutdown_timeout + 10


def test_the_data_lie_where_postgresql_18_keeps_them() -> None:
    database = simulated()["db"]
    assert database["image"] == "postgres:18"
    assert database["volumes"] == ["database:/var/lib/postgresql"]


def test_only_this_machine_reaches_what_is_published() -> None:
    for name, service in simulated().items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_the_schema_needs_no_secret_of_the_gateways(filled: Path) -> None:
    found = compose.services(compose.variables(filled / "gateway.env"))
    assert set(compose.environment(found["migrate"], filled)) == {
        "GATEWAY_DATABASE_URL",
        "GATEWAY_DATABASE_APP_PASSWORD",
    }


def test_the_superuser_is_for_migrate_only(filled: Path) -> None:
    found = compose.services(compose.variables(filled / "gateway.env"))
    served = compose.environment(found["serve"], filled)
    assert FILLED["POSTGRES_PASSWORD"] not in " ".join(served.values())
    migrating = compose.environment(found["migrate"], filled)["GATEWAY_DATABASE_URL"]
    assert f"//postgres:{FILLED['POSTGRES_PASSWORD']}@" in migrating


@pytest.mark.parametrize("text", ["A='b'", "A=$B", 'A="b"x'])
def test_what_readers_of_env_files_disagree_about_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "some.env"
    path.write_text(f"{text}\n")
    with pytest.raises(ValueError, match=r"some\.env"):
        compose.variables(path)
