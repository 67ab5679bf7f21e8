"""Reads the manifests: as they are written, and as kustomize makes them where kubectl is here."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kustomize"
KUBECTL = shutil.which("kubectl")
WORKLOADS = ("Deployment", "Job")

Manifest: TypeAlias = Mapping[str, Any]


def kustomization(name: str) -> Manifest:
    found: Manifest = YAML(typ="safe").load(FOLDER / name / "kustomization.yaml")
    return found


def written(name: str) -> list[Manifest]:
    """Return a folder's own resources, and its ConfigMaps under their plain names."""
    own = kustomization(name)
    found = [one for file in own["resources"] for one in _documents(FOLDER / name / file)]
    pairs = own["labels"][0]["pairs"]
    for one in found:
        if one["kind"] in WORKLOADS:
            one["spec"]["template"]["metadata"]["labels"].update(pairs)
    return [*found, *_config_maps(own)]


def rendered(name: str) -> list[Manifest]:
    """Return what `kubectl kustomize` makes of a folder."""
    assert KUBECTL is not None
    made = subprocess.check_output([KUBECTL, "kustomize", str(FOLDER / name)])  # noqa: S603
    return [one for one in YAML(typ="safe").load_all(made) if one]


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as stream:
        yield from YAML(typ="safe").load_all(stream)


def _config_maps(own: Manifest) -> Iterator[Manifest]:
    for one in own.get("configMapGenerator", ()):
        data = dict(literal.split("=", 1) for literal in one["literals"])
        metadata = {"name": one["name"]}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def pod(workload: Manifest) -> Manifest:
    found: Manifest = workload["spec"]["template"]["spec"]
    return found


def container(workload: Manifest) -> Manifest:
    (found,) = pod(workload)["containers"]
    return dict(found)


def labels(workload: Manifest) -> Mapping[str, str]:
    found: Mapping[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selects(selector: Manifest, of: Mapping[str, str]) -> bool:
    """Tell whether a selector takes a pod with these labels."""
    equal = selector.get("matchLabels", {}).items() <= of.items()
    among = (of.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ()))
    return equal and all(among)
