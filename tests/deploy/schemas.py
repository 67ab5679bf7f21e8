"""Kubernetes's own schemas of the kinds that the manifests have: `python -m tests.deploy.schemas`.

`kubernetes.json` is cut out of the package kubernetes-validate (Apache-2.0), which has Kubernetes's
OpenAPI document as JSON schemas that refuse unknown members. The package is 108 MB, with every
version; this is 70 kB, without the descriptions. To renew it, install the package beside the others
and run this module.
"""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = Path(__file__).with_name("kubernetes.json")
VERSION = "v1.37.0"
KINDS = (
    *("configmap-v1", "deployment-apps-v1", "ingress-networking-v1", "job-batch-v1"),
    *("namespace-v1", "networkpolicy-networking-v1", "poddisruptionbudget-policy-v1"),
    "service-v1",
)
REFERENCE = re.compile(r'"/api/_definitions\.json#/\$defs/')


def flaws(manifest: Mapping[str, Any]) -> list[str]:
    """Return what the schema of its kind objects to."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    schema = document["kinds"][f"{manifest['kind'].lower()}-{api}"]
    validator = Draft202012Validator({**schema, "$defs": document["$defs"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def _pruned(node: Any) -> Any:
    """Drop what describes and does not check."""
    if isinstance(node, list):
        return [_pruned(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _pruned(one)
        for name, one in node.items()
        if not (name in {"description", "$id", "$schema"} and isinstance(one, str))
        and not name.startswith("x-kubernetes")
    }


def _needed(of: object, definitions: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = list(_named(of))
    while names:
        name = names.pop()
        if name not in found:
            found[name] = _pruned(definitions[name])
            names += _named(found[name])
    return found


def _named(node: object) -> Iterator[str]:
    yield from re.findall(r'"\$ref": "[^"]*/\$defs/([^"]+)"', json.dumps(node))


def main() -> None:
    package = find_spec("kubernetes_validate")
    assert package is not None
    assert package.origin is not None, "install kubernetes-validate"
    folder = Path(package.origin).parent / "kubernetes-json-schema" / f"{VERSION}-local-strict"
    kinds = {name: _pruned(json.loads((folder / f"{name}.json").read_bytes())) for name in KINDS}
    definitions = json.loads((folder / "_definitions.json").read_bytes())["$defs"]
    parts = {"kinds": kinds, "$defs": _needed(kinds, definitions)}
    lines = [f'"version": "{VERSION}"']
    for part, members in parts.items():
        written = ",\n".join(f"{json.dumps(n)}: {json.dumps(members[n])}" for n in sorted(members))
        lines.append(f'"{part}": {{\n{written}\n}}')
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    FILE.write_text(REFERENCE.sub('"#/$defs/', text), encoding="utf-8")


if __name__ == "__main__":
    main()
