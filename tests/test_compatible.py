"""The API stays compatible with the last release, and a change that is not is found."""

import copy
import json
from typing import Any

import pytest

from tools.docs.openapi import document
from tools.openapi.__main__ import against, newest
from tools.openapi.compare import breaks
from tools.openapi.outline import outline

TASK = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string"},
        "state": {"enum": ["queued", "running"], "type": "string"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "parent": {"anyOf": [{"$ref": "#/components/schemas/Task"}, {"type": "null"}]},
        "files": {"type": "array", "items": {"type": "object", "properties": {"url": {}}}},
        "title": {"type": "string", "title": "Title"},
    },
}
CREATE = {
    "type": "object",
    "required": ["model"],
    "properties": {
        "model": {"type": "string", "maxLength": 200, "minLength": 1},
        "priority": {"type": "integer", "default": 5},
        "mode": {"enum": ["fast", "slow"]},
    },
}
OLD: dict[str, Any] = {
    "paths": {
        "/tasks": {
            "post": {
                "operationId": "createTask",
                "parameters": [{"in": "query", "name": "wait", "schema": {"type": "number"}}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Create"}}
                    },
                },
                "responses": {
                    "201": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Task"}}
                        }
                    },
                    "422": {},
                },
            }
        }
    },
    "components": {"schemas": {"Task": TASK, "Create": CREATE}},
}

POST = "paths//tasks/post"
SENT = "components/schemas/Create"
SHOWN = "components/schemas/Task"
GONE = object()

BREAKS = {
    "a path": ("paths//tasks", GONE, "POST /tasks: is gone"),
    "a method": (POST, GONE, "POST /tasks: is gone"),
    "a name for clients": (f"{POST}/operationId", "newTask", "operationId is another"),
    "a parameter": (f"{POST}/parameters", [], "parameter wait is gone"),
    "a required parameter": (
        f"{POST}/parameters",
        [
            *OLD["paths"]["/tasks"]["post"]["parameters"],
            {"in": "query", "name": "shop", "required": True, "schema": {}},
        ],
        "parameter shop is required now",
    ),
    "a status": (f"{POST}/responses/422", GONE, "422 is gone"),
    "a media type": (f"{POST}/responses/201/content", {}, "application/json is gone"),
    "a body": (f"{POST}/requestBody", GONE, "body: is gone"),
    "a field that is sent": (f"{SENT}/properties/mode", GONE, "body/mode: is gone"),
    "a field that is shown": (f"{SHOWN}/properties/note", GONE, "201/note: is gone"),
    "a field called title": (f"{SHOWN}/properties/title", GONE, "201/title: is gone"),
    "a field of items": (f"{SHOWN}/properties/files/items/properties", {}, "files/*/url: is gone"),
    "a required field": (f"{SENT}/required", ["model", "mode"], "body/mode: is required now"),
    "a promised field": (f"{SHOWN}/required", ["id"], "201/state: may be missing now"),
    "a value that is sent": (f"{SENT}/properties/mode/enum", ["fast"], "the value slow is gone"),
    "a value that is shown": (
        f"{SHOWN}/properties/state/enum",
        ["queued"],
        "the value running is gone",
    ),
    "values where any were": (f"{SENT}/properties/model/enum", ["a"], "only some values"),
    "a type that is sent": (f"{SENT}/properties/priority/type", "string", "no longer be integer"),
    "a null that is shown": (f"{SHOWN}/properties/id/type", ["string", "null"], "may now be null"),
    "a lower bound": (f"{SENT}/properties/model/minLength", 3, "minLength is higher"),
    "an upper bound": (f"{SENT}/properties/model/maxLength", 20, "maxLength is lower"),
}

ADDITIONS = {
    "a path": ("paths//models", {"get": {"responses": {}}}),
    "an optional parameter": (
        f"{POST}/parameters",
        [
            *OLD["paths"]["/tasks"]["post"]["parameters"],
            {"in": "query", "name": "shop", "schema": {}},
        ],
    ),
    "a field that may be sent": (f"{SENT}/properties/seed", {"type": "integer"}),
    "a field that is shown": (f"{SHOWN}/properties/cost", {"type": "number"}),
    "a value": (f"{SHOWN}/properties/state/enum", ["queued", "running", "archived"]),
    "a wider type": (f"{SENT}/properties/priority/type", ["integer", "null"]),
    "a number for an integer": (f"{SENT}/properties/priority/type", "number"),
    "a wider bound": (f"{SENT}/properties/model/maxLength", 300),
    "a field that need not be sent": (f"{SENT}/required", []),
    "a field that is always shown": (f"{SHOWN}/required", ["id", "state", "note"]),
    "words": (f"{SENT}/description", "A task to create."),
}


def changed(place: str, value: object) -> dict[str, Any]:
    """Change one place of the document; `//` is the beginning of a path's name."""
    document = copy.deepcopy(OLD)
    *above, last = [part.replace("\0", "/") for part in place.replace("//", "/\0").split("/")]
    node: Any = document
    for part in above:
        node = node[part]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return document


@pytest.mark.parametrize("name", BREAKS)
def test_a_change_that_breaks_callers_is_found(name: str) -> None:
    place, value, said = BREAKS[name]
    for old in (OLD, outline(OLD)):
        found = breaks(old, changed(place, value))
        assert len(found) == 1, found
        assert said in found[0]


@pytest.mark.parametrize("name", ADDITIONS)
def test_what_is_added_breaks_nobody(name: str) -> None:
    place, value = ADDITIONS[name]
    assert breaks(OLD, changed(place, value)) == []


def test_the_api_is_compatible_with_the_last_release() -> None:
    assert against(newest()) == [], "callers of the last release would break"


def test_a_break_of_the_real_document_is_found() -> None:
    """The release's file has enough in it to notice."""
    now = document()
    broken = json.loads(json.dumps(now))
    del broken["components"]["schemas"]["Task"]["properties"]["result_urls"]
    broken["components"]["schemas"]["TaskCreate"]["required"].append("metadata")
    found = breaks(json.loads(newest().read_text(encoding="utf-8")), broken)
    assert len([one for one in found if one.endswith("/result_urls: is gone")]) >= 1
    assert "POST /v1/tasks body/metadata: is required now" in found
