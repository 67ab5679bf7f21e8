"""The manifests are what Kubernetes allows, and fit together and to the program that they start."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import typer

from app import config
from app.cli import app
from app.config.reading import NAMES
from tests.deploy.manifests import (
    FOLDER,
    KUBECTL,
    ROOT,
    WORKLOADS,
    Manifest,
    container,
    kustomization,
    labels,
    of_kind,
    pod,
    rendered,
    selects,
    written,
)
from tests.deploy.schemas import flaws

MOUNTED = "/run/secrets/kie-gateway"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
SECRETS = {
    "database_url": "postgresql://me:a-password@db.example.com/gateway?sslmode=verify-full",
    "callback_keys": "callback-keys-tR7wq9ZcLpXv4sGm",
    "secret_keys": "secret-keys-Kx93vbQm2LtYw8Rd",
    "kie_api_key": "sk-of-the-tests",
    "admin_key": "admin-key-Jp5nZt7HcVwq3XsE",
    "owner_password": "owner0password0of0the0tests",
    "app_password": "app0password0of0the0tests",
    "receiver_password": "receiver0password0of0the0tests",
}
NEEDED = {
    "kie-gateway-receiver": {"database_url", "callback_keys"},
    "kie-gateway-api": {
        "database_url",
        "callback_keys",
        "secret_keys",
        "kie_api_key",
        "admin_key",
    },
    "kie-gateway-migrate": {
        "database_url",
        "owner_password",
        "app_password",
        "receiver_password",
    },
}
"""Which secrets each may read: what strangers reach has the fewest."""

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


@pytest.fixture(
    scope="module",
    params=["written", pytest.param("rendered", marks=needs_kubectl)],
)
def manifests(request: pytest.FixtureRequest) -> Sequence[Manifest]:
    """Lend everything that is applied, as written, and as kustomize makes it of the example."""
    if request.param == "written":
        return [*written("base"), *written("migrate")]
    return [*rendered("example"), *rendered("migrate")]


def workloads(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    return of_kind(manifests, *WORKLOADS)


def test_each_file_is_named_by_its_kustomization() -> None:
    for folder in FOLDER.iterdir():
        named = {*kustomization(folder.name)["resources"], "kustomization.yaml"}
        assert {file.name for file in folder.iterdir()} == {
            name for name in named if not name.startswith("..")
        }


def test_they_are_what_the_schemas_of_kubernetes_allow(manifests: Sequence[Manifest]) -> None:
    assert [flaw for one in manifests for flaw in flaws(one)] == []


def test_the_schemas_refuse_what_is_misspelt() -> None:
    (one, *_) = written("base")
    one["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    (flaw,) = flaws(one)
    assert "terminationGracePeriod" in flaw


def test_selectors_find_the_pods_that_they_are_for(manifests: Sequence[Manifest]) -> None:
    found = workloads(manifests)
    deployments = of_kind(manifests, "Deployment")
    for name, one in deployments.items():
        assert selects(one["spec"]["selector"], labels(one)), name
        for spread in pod(one)["topologySpreadConstraints"]:
            assert selects(spread["labelSelector"], labels(one)), name
    for kind in ("PodDisruptionBudget", "Service"):
        named = of_kind(manifests, kind)
        assert set(named) == set(deployments), kind
        for name, one in named.items():
            selector = one["spec"]["selector"]
            selector = {"matchLabels": selector} if kind == "Service" else selector
            taken = [other for other, each in found.items() if selects(selector, labels(each))]
            assert taken == [name], kind
    for name, policy in of_kind(manifests, "NetworkPolicy").items():
        assert any(selects(policy["spec"]["podSelector"], labels(one)) for one in found.values()), (
            name
        )


def test_ports_are_the_ones_that_the_program_listens_at(manifests: Sequence[Manifest]) -> None:
    (settings,) = of_kind(manifests, "ConfigMap").values()
    listens = {
        "http": settings["data"]["GATEWAY_LISTEN"],
        "metrics": settings["data"]["GATEWAY_METRICS_LISTEN"],
    }
    for name, one in of_kind(manifests, "Deployment").items():
        opened = {port["name"]: port["containerPort"] for port in container(one)["ports"]}
        assert {key: f"0.0.0.0:{port}" for key, port in opened.items()} == listens, name
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container(one)[probe]["httpGet"]
            assert asked["port"] == "http"
            assert asked["path"] == ("/readyz" if probe == "readinessProbe" else "/livez")
    services = of_kind(manifests, "Service")
    for service in services.values():
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    for ingress in of_kind(manifests, "Ingress").values():
        (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
        assert path["path"] == "/callbacks/"
        backend = path["backend"]["service"]
        assert backend == {"name": "kie-gateway-receiver", "port": {"name": "http"}}


def environment(
    workload: Manifest, manifests: Sequence[Manifest], secrets: Path
) -> Mapping[str, str]:
    """Return what the process gets, its secrets as files in a folder of the test's."""
    maps = of_kind(manifests, "ConfigMap")
    found: dict[str, str] = {}
    for source in container(workload).get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]["data"]
    own = {one["name"]: one["value"] for one in container(workload)["env"]}
    return found | {name: value.replace(MOUNTED, str(secrets)) for name, value in own.items()}


def test_each_process_gets_settings_that_it_can_start_with(
    manifests: Sequence[Manifest], tmp_path: Path
) -> None:
    for name, text in SECRETS.items():
        (tmp_path / name).write_text(text)
    command = typer.main.get_command(app)
    for name, one in workloads(manifests).items():
        given = environment(one, manifests, tmp_path)
        assert set(given) <= set(NAMES), name
        settings = config.load(given)
        read = {Path(value).name for key, value in given.items() if key.endswith("_FILE")}
        assert read == NEEDED[name]
        assert settings.receives_only is (name == "kie-gateway-receiver")
        word, *arguments = container(one)["args"]
        with getattr(command, "commands", {})[word].make_context(word, arguments):
            pass
        (volume,) = (each["secret"] for each in pod(one)["volumes"] if "secret" in each)
        assert volume["secretName"] == name
        assert {each["mountPath"] for each in container(one)["volumeMounts"]} == {
            *(MOUNTED, "/tmp"),  # noqa: S108  # the container's
        }
        assert f"create secret generic {name}" in PAGE
        if one["kind"] == "Deployment":
            grace = pod(one)["terminationGracePeriodSeconds"]
            assert grace >= settings.shutdown_timeout + 10


def test_the_page_creates_each_secret_with_what_is_read_of_it() -> None:
    for name, keys in NEEDED.items():
        block = re.search(rf"create secret generic {name} (.*?)\n(?:kubectl|```)", PAGE, re.DOTALL)
        assert block is not None
        assert keys <= set(re.findall(r"--from-file=(\w+)", block[1])), name


def test_no_process_has_a_right_that_it_does_not_need(manifests: Sequence[Manifest]) -> None:
    for name, one in workloads(manifests).items():
        spec, only = pod(one), container(one)
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001  # the image's
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(only["resources"])
        assert "cpu" not in only["resources"]["limits"]


def test_all_is_denied_but_what_is_named(manifests: Sequence[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    nothing = policies["kie-gateway-nothing"]["spec"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(nothing)
    for one in workloads(manifests).values():
        assert selects(nothing["podSelector"], labels(one))
    receiver = labels(workloads(manifests)["kie-gateway-receiver"])
    of_receiver = {n for n, p in policies.items() if selects(p["spec"]["podSelector"], receiver)}
    assert {n for n in of_receiver if "egress" in policies[n]["spec"]} == {"kie-gateway-database"}
    assert [
        (name, [port["port"] for port in rule["ports"]])
        for name in sorted(of_receiver)
        for rule in policies[name]["spec"].get("ingress", ())
    ] == [("kie-gateway-metrics", ["metrics"]), ("kie-gateway-receiver", ["http"])]


def test_there_is_no_secret_in_the_repository(manifests: Sequence[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == {}
    (settings,) = of_kind(manifests, "ConfigMap").values()
    secret = {name.removesuffix("_FILE") for name in NAMES if name.endswith("_FILE")}
    assert not secret & set(settings["data"])
    assert "secretKeyRef" not in json.dumps(manifests)
