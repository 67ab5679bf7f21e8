"""The client against the gateway's own document: calls, fields, words and error codes."""

import datetime as dt
import inspect
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel

from app.api.errors import STATUS
from kie_gateway_client import AsyncGateway, Gateway, errors, models, words
from kie_gateway_client.calls import Calls
from kie_gateway_client.steps import Open, Send
from kie_gateway_client.terms import Terms
from kie_gateway_client.words import Word

ID = "019a0000-0000-7000-8000-000000000000"
INSTANT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.date(2026, 11, 1)
BETWEEN = {"created_after": INSTANT, "created_before": INSTANT}

CALLS: Mapping[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "createTask": (
        "create",
        ("m", {}),
        {
            "idempotency_key": "k",
            "metadata": {"a": "b"},
            "webhook_url": "https://h.test/",
            "priority": 1,
            "submit_within": 5.0,
        },
    ),
    "getTask": ("wait", (ID,), {}),
    "listTasks": (
        "list",
        (),
        {
            "state": "queued",
            "model": "m",
            "fail_class": "content",
            "retryable": True,
            "metadata": {"KEY": "b"},
            "with_input": True,
            **BETWEEN,
        },
    ),
    "waitForTasks": ("wait_all", ([ID],), {}),
    "eraseTask": ("erase", (ID,), {}),
    "cancelTask": ("cancel", (ID,), {}),
    "refreshTask": ("refresh", (ID,), {}),
    "listTaskCallbacks": ("callbacks", (ID,), {}),
    "getArtifact": ("artifact", (ID, 1), {}),
    "listTaskEvents": ("past_events", (ID,), {"after": "e1"}),
    "listEvents": ("past_events", (), {"after": "e1"}),
    "listTaskDeliveries": ("deliveries", (), {"task_id": ID, "state": "pending"}),
    "listDeliveries": ("deliveries", (), {"state": "pending", **BETWEEN}),
    "getDelivery": ("delivery", (ID,), {}),
    "redeliver": ("redeliver", (ID,), {}),
    "redeliverMany": ("redeliver_many", (), {"state": "exhausted", **BETWEEN}),
    "listDisabledUrls": ("disabled_urls", (), {}),
    "enableUrl": ("enable_url", ("https://h.test/",), {}),
    "uploadFile": ("upload_url", ("https://h.test/a.png",), {"name": "a.png"}),
    "listFiles": ("files", (), {}),
    "getFile": ("file", (ID,), {}),
    "getUsage": ("usage", (), {"first": DAY, "last": DAY}),
    "getBudget": ("budget", (), {}),
    "listModels": ("models", (), {}),
}
"""Each operation of callers, and the call that carries it out."""
ALSO = {
    "run": "create and wait",
    "get": "wait, without waiting",
    "wait_any": "wait_all, for one of them",
    "events": "past_events, as they come",
    "upload": "upload_url, of a file that the caller has",
}
"""Calls that carry out the same operations in another way."""
LEFT_OUT = {
    "/v1/admin/": "for operators: kie-gateway's commands and the console",
    "/api/": "kie.ai's own API, for programs that were written for kie.ai",
    "/callbacks/": "for kie.ai",
    "/livez": "for those who run the gateway",
    "/readyz": "the same",
    "/metrics": "the same",
}
"""Paths that have no call, and why."""
NOT_GIVEN = {
    ("getTask", "prefer"): "`wait` says it",
    ("createTask", "prefer"): "the same",
    ("createTask", "wait"): "`run` waits",
    ("getArtifact", "range"): "a file is read from its beginning",
    ("listTaskEvents", "limit"): "as many as there are on a page",
    ("listEvents", "limit"): "the same",
    ("listTaskEvents", "last-event-id"): "`after` says it; streams send it",
    ("listEvents", "last-event-id"): "the same",
    ("getUsage", "limit"): "as many as there are on a page",
}
"""Parameters that no call sends, and why."""
SCHEMAS: Mapping[str, type[BaseModel]] = {
    "Task": models.Task,
    "ListedTask": models.Task,
    "TaskUrls": models.TaskUrls,
    "Artifact": models.Artifact,
    "Callback": models.Callback,
    "Event": models.Event,
    "Delivery": models.Delivery,
    "DeliveryAttempt": models.DeliveryAttempt,
    "Repetition": models.Repetition,
    "Redelivered": models.Redelivered,
    "DisabledUrl": models.DisabledUrl,
    "File": models.File,
    "Budget": models.Budget,
    "EndedTasks": models.EndedTasks,
    "UsageSums": models.UsageSums,
    "UsageGroup": models.UsageGroup,
    "UsageList": models.Usage,
    "ModelStatistics": models.Model,
    "ModelSpan": models.ModelSpan,
    "ModelCredits": models.ModelCredits,
    "ModelSeconds": models.ModelSeconds,
    "ModelBreaker": models.ModelBreaker,
}
UNREAD = {
    ("UsageList", "next_cursor"): "the call reads all pages",
    ("UsageGroup", "client"): "for operators",
}
FORMATS = {"date-time": AwareDatetime, "date": dt.date, "uuid": UUID}
PLAIN = {
    "integer": (int,),
    "number": (Decimal, float),
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}

Spec = dict[str, Any]


def operations(spec: Spec) -> Iterator[tuple[str, str, Spec]]:
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if not path.startswith(tuple(LEFT_OUT)):
                yield method.upper(), path, operation


def first_request(name: str) -> Any:
    """Return what a call sends first."""
    method, given, options = CALLS[name]
    calls = Calls(Terms("http://h.test", b"kgw_x"))
    step = next(getattr(calls, method)(*given, **options))
    assert isinstance(step, Open | Send)
    return step.request


def test_every_operation_of_callers_has_a_call(spec: Spec) -> None:
    found = {one["operationId"]: (path, method) for method, path, one in operations(spec)}
    assert found.keys() == CALLS.keys()
    for name, (path, method) in found.items():
        request = first_request(name)
        assert request.method == method, name
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        assert re.fullmatch(f"http://h\\.test{pattern}", request.url), name
    public = {name for name, _ in inspect.getmembers(Calls, inspect.isfunction)} - {
        *("__init__", "one", "pages", "short", "but", "raw", "read")
    }
    assert {name for name in public if not name.startswith("_")} == {
        *(method for method, *_ in CALLS.values()),
        *ALSO,
    }


def test_what_is_left_out_is_there_to_be_left_out(spec: Spec) -> None:
    paths = spec["paths"]
    gone = [part for part in LEFT_OUT if not any(path.startswith(part) for path in paths)]
    assert gone == ["/metrics"]


def test_every_parameter_can_be_given(spec: Spec) -> None:
    missing = {}
    for _, _, operation in operations(spec):
        name = operation["operationId"]
        request = first_request(name)
        sent = {key.lower() for key, _ in request.params} | {key.lower() for key in request.headers}
        sent |= {"cursor"}  # pages that follow
        for parameter in operation.get("parameters", ()):
            key = parameter["name"].lower()
            if parameter["in"] != "path" and key not in sent:
                missing[name, key] = parameter
    assert missing.keys() == NOT_GIVEN.keys()


@pytest.mark.parametrize("name", ["createTask", "waitForTasks", "redeliverMany", "enableUrl"])
def test_every_member_of_a_body_can_be_given(spec: Spec, name: str) -> None:
    (operation,) = [found for *_, found in operations(spec) if found["operationId"] == name]
    body = resolved(spec, operation["requestBody"]["content"]["application/json"]["schema"])
    sent = set(re.findall(rb'"(\w+)":', first_request(name).body or b""))
    assert {member.decode() for member in sent} - {"a"} == set(body["properties"]) - {"cursor"}


def resolved(spec: Spec, schema: Spec) -> Spec:
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def without_null(schema: Spec) -> Spec:
    if "anyOf" not in schema:
        return schema
    (kept,) = [one for one in schema["anyOf"] if one.get("type") != "null"]
    return dict(kept)


def inner(annotation: Any) -> Any:
    kinds = [one for one in get_args(annotation) if one is not NoneType]
    is_optional = NoneType in get_args(annotation)
    return kinds[0] if is_optional else annotation


def trouble(spec: Spec, schema: Spec, annotation: Any) -> str | None:
    """Say why values of the schema do not fit the annotation."""
    schema, kind = resolved(spec, without_null(schema)), inner(annotation)
    if isinstance(kind, type) and issubclass(kind, Word):
        known = {word.value for word in kind}
        said = set(schema.get("enum", known))
        return None if said == known else f"{kind.__name__}: {said ^ known}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return None if SCHEMAS[schema["title"]] is kind else f"{kind} for {schema['title']}"
    wanted = FORMATS.get(schema.get("format", ""))
    if wanted is not None:
        return None if kind is wanted else f"{kind} for {wanted}"
    plain = get_origin(kind) or kind
    if plain not in PLAIN[schema["type"]]:
        return f"{kind} for {schema['type']}"
    if plain is list:
        return trouble(spec, schema["items"], get_args(kind)[0])
    return None


def named(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields by their names in JSON."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_read_as_what_it_is(spec: Spec, name: str) -> None:
    described = spec["components"]["schemas"][name]["properties"]
    fields = named(SCHEMAS[name])
    left_out = {field for owner, field in UNREAD if owner == name}
    assert described.keys() - left_out == fields.keys()
    said = {field: trouble(spec, described[field], fields[field]) for field in fields}
    assert {field: why for field, why in said.items() if why} == {}


def test_every_schema_of_an_answer_is_read(spec: Spec) -> None:
    """But for lists, which are read row by row."""
    pages = {"EnabledUrl": "says what was said"}

    def below(schema: Spec) -> Iterator[str]:
        for key, value in schema.items():
            if key == "$ref" and "/schemas/" in value:
                name = value.rpartition("/")[2]
                yield name
                yield from below(spec["components"]["schemas"][name])
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    yield from below(one)

    found = {
        name
        for *_, operation in operations(spec)
        for status, answer in operation["responses"].items()
        if status < "300"
        for name in below(answer)
        if "properties" in spec["components"]["schemas"][name]
    }
    lists = {name for name in found if name.endswith("List")} | {"WaitedTasks"}
    assert found - lists - pages.keys() == SCHEMAS.keys() - {"UsageList"}


def test_the_words_are_the_gateways() -> None:
    from app.domain import admission, delivery, evidence, files, spend, task  # noqa: PLC0415

    homes = (task, admission, delivery, evidence, files, spend)
    ours = [one for one in vars(words).values() if inspect.isclass(one) and issubclass(one, Word)]
    for one in ours:
        if one is not Word:
            (theirs,) = {vars(home).get(one.__name__) for home in homes} - {None}
            assert theirs is not None
            assert [word.value for word in one] == [word.value for word in theirs]


def test_every_error_code_has_its_class() -> None:
    page = (Path(__file__).parents[2] / "docs/errors.md").read_text(encoding="utf-8")
    refused = page.partition("## Failed and expired tasks")[0]
    documented = {*re.findall(r"^\| `(\w+)` \| \d{3} \|", refused, re.MULTILINE)}
    documented |= {*re.findall(r"`(\w+)` \d{3} \(", refused)}
    assert documented == errors.CLASSES.keys()
    assert {kind.code for kind in STATUS} <= errors.CLASSES.keys()
    for kind, status in STATUS.items():
        usual = errors.class_of("not known", status)
        assert issubclass(errors.CLASSES[kind.code], usual), kind.code


def test_both_clients_have_the_same_methods() -> None:
    ours, theirs = (
        {name for name in vars(kind) if not name.startswith("_")}
        for kind in (Gateway, AsyncGateway)
    )
    assert ours == theirs
    for name in {method for method, *_ in CALLS.values()} | ALSO.keys():
        call = getattr(Calls, name)
        for kind in (Gateway, AsyncGateway):
            method = getattr(kind, name)
            assert inspect.signature(method) == inspect.signature(call)
            assert inspect.getdoc(method) == inspect.getdoc(call)
            hands_out = name in {"list", "files", "events", "past_events", "deliveries", "artifact"}
            hands_out |= name in {"callbacks", "redeliver_many"}
            awaited = kind is AsyncGateway and not hands_out
            assert inspect.iscoroutinefunction(method) == awaited, name


def test_what_is_exported_is_there() -> None:
    import kie_gateway_client  # noqa: PLC0415

    for name in kie_gateway_client.__all__:
        assert getattr(kie_gateway_client, name).__name__ == name
    with pytest.raises(AttributeError, match="has no nothing"):
        _ = kie_gateway_client.nothing  # type: ignore[attr-defined]
    raised = {one for one in vars(errors).values() if inspect.isclass(one)}
    public = {one.__name__ for one in raised if issubclass(one, errors.GatewayError)}
    assert public <= set(kie_gateway_client.__all__)


def test_a_word_of_a_newer_gateway_is_taken() -> None:
    import pickle  # noqa: PLC0415

    word = words.State("dreaming")
    assert (word, str(word), f"{word}", word.is_known) == ("dreaming",) * 3 + (False,)
    assert words.State.QUEUED.is_known
    assert not word.is_final
    assert hash(words.State.QUEUED) == hash("queued")
    assert pickle.loads(pickle.dumps(word)) == word  # noqa: S301  # our own
    assert pickle.loads(pickle.dumps(words.State.QUEUED)) is words.State.QUEUED  # noqa: S301
    with pytest.raises(ValueError, match="7"):
        words.State(7)
    raw = {
        "id": ID,
        "state": "dreaming",
        "model": "m",
        "version": 9,
        "mood": {"is": "blue"},
        "created_at": "2026-11-22T00:00:00.123456Z",
        "updated_at": "2026-11-22T00:00:00Z",
    }
    task = models.Task.of(raw)
    assert (task.state, task.raw["mood"]) == ("dreaming", {"is": "blue"})
    with pytest.raises(errors.UnexpectedAnswer, match=r"no.* Task .*created_at, model"):
        models.Task.of({key: raw[key] for key in ("id", "state", "version", "updated_at")})
