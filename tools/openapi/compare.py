"""What in one OpenAPI document breaks a caller that was written for another.

Requests may be understood more widely, and answers may have more in them; not the other way round.
A value may be added to an answer's enum: callers are told to expect new ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

METHODS = ("get", "put", "post", "delete", "patch")
_ALL_TYPES = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})
_NARROWER_IF_LESS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_NARROWER_IF_MORE = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")

Document = Mapping[str, Any]


def breaks(old: Document, new: Document) -> list[str]:
    """List what a caller of `old` would trip over in `new`; empty: nothing."""
    return list(_Comparison(old, new).paths())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the documents, and which way the data goes there."""

    name: str
    is_request: bool

    def below(self, name: str) -> "_Place":
        return replace(self, name=f"{self.name}{name}")


@dataclass(frozen=True, slots=True)
class _Comparison:
    old: Document
    new: Document
    seen: set[tuple[bool, tuple[int, ...], tuple[int, ...]]] = field(default_factory=set)
    """A schema counts where it is met first: many places have it, and it may contain itself."""

    def paths(self) -> Iterator[str]:
        for path, item in self.old["paths"].items():
            for method in METHODS:
                if method in item:
                    place = f"{method.upper()} {path}"
                    now = self.new["paths"].get(path, {}).get(method)
                    yield from self._operation(place, item[method], now)

    def _operation(self, place: str, old: Document, new: Document | None) -> Iterator[str]:
        if new is None:
            yield f"{place}: is gone"
            return
        if old.get("operationId") != new.get("operationId"):
            yield f"{place}: its operationId is another"
        yield from self._parameters(place, old.get("parameters", ()), new.get("parameters", ()))
        yield from self._request(place, old.get("requestBody"), new.get("requestBody"))
        for status, response in old["responses"].items():
            if status not in new["responses"]:
                yield f"{place}: {status} is gone"
                continue
            there = _Place(f"{place} {status}", is_request=False)
            yield from self._contents(there, response, new["responses"][status])

    def _parameters(
        self, place: str, old: Sequence[Document], new: Sequence[Document]
    ) -> Iterator[str]:
        before = {(one["in"], one["name"]): one for one in old}
        now = {(one["in"], one["name"]): one for one in new}
        for key, parameter in now.items():
            known = before.get(key, {})
            if parameter.get("required") and not known.get("required"):
                yield f"{place}: parameter {key[1]} is required now"
        for key, parameter in before.items():
            if key not in now:
                yield f"{place}: parameter {key[1]} is gone"
                continue
            there = _Place(f"{place} parameter {key[1]}", is_request=True)
            yield from self._schema(there, parameter.get("schema", {}), now[key].get("schema", {}))

    def _request(self, place: str, old: Document | None, new: Document | None) -> Iterator[str]:
        there = _Place(f"{place} body", is_request=True)
        if old is not None and new is not None:
            yield from self._contents(there, old, new)
        elif old is not None:
            yield f"{there.name}: is gone"
        if (new or {}).get("required") and not (old or {}).get("required"):
            yield f"{there.name}: is required now"

    def _contents(self, place: _Place, old: Document, new: Document) -> Iterator[str]:
        for media_type, content in old.get("content", {}).items():
            if media_type not in new.get("content", {}):
                yield f"{place.name}: {media_type} is gone"
                continue
            now = new["content"][media_type]
            yield from self._schema(place, content.get("schema", {}), now.get("schema", {}))

    def _schema(self, place: _Place, old: Document, new: Document) -> Iterator[str]:
        before, now = _Shape.of(self.old, old), _Shape.of(self.new, new)
        yield from _types(place, before, now)
        yield from _values(place, before, now)
        if place.is_request:
            yield from _bounds(place, before, now)
        pair = (place.is_request, before.identity, now.identity)
        if pair not in self.seen:
            self.seen.add(pair)
            yield from _required(place, before, now)
            yield from self._below(place, before, now)

    def _below(self, place: _Place, before: "_Shape", now: "_Shape") -> Iterator[str]:
        for name, schema in before.members.items():
            if name in now.members:
                yield from self._schema(place.below(f"/{name}"), schema, now.members[name])
            else:
                yield f"{place.name}/{name}: is gone"
        for part in ("items", "additionalProperties"):
            if part in before.parts and part in now.parts:
                inner = place.below("/*")
                yield from self._schema(inner, before.parts[part], now.parts[part])


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a schema allows, its alternatives taken together."""

    identity: tuple[int, ...]
    types: frozenset[str]
    values: frozenset[str] | None
    """None: any of its types."""
    members: Mapping[str, Document]
    required: frozenset[str]
    parts: Mapping[str, Document]
    bounds: Mapping[str, float]

    @classmethod
    def of(cls, document: Document, schema: Document) -> "_Shape":
        found = list(_alternatives(document, schema))
        objects = [one for one in found if "properties" in one]
        return cls(
            identity=tuple(id(one) for one in found if one.get("type") != "null"),
            types=frozenset[str]().union(*(_types_of(one) for one in found)),
            values=_values_of(found),
            members={name: each for one in objects for name, each in one["properties"].items()},
            required=_required_of(objects),
            parts={
                part: one[part]
                for one in found
                for part in ("items", "additionalProperties")
                if isinstance(one.get(part), dict)
            },
            bounds={
                name: one[name]
                for one in found
                for name in (*_NARROWER_IF_LESS, *_NARROWER_IF_MORE)
                if name in one
            },
        )


def _required_of(objects: Sequence[Document]) -> frozenset[str]:
    """Collect what every alternative requires."""
    each = [frozenset[str](one.get("required", ())) for one in objects]
    return frozenset.intersection(*each) if each else frozenset()


def _alternatives(document: Document, schema: Document) -> Iterator[Document]:
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        yield from _alternatives(document, found)
        return
    inner = [one for word in ("anyOf", "oneOf", "allOf") for one in schema.get(word, ())]
    for one in inner:
        yield from _alternatives(document, one)
    if not inner:
        yield schema


def _types_of(schema: Document) -> frozenset[str]:
    given = schema.get("type")
    if given is None:
        return frozenset() if "const" in schema or "enum" in schema else _ALL_TYPES
    types = frozenset({given} if isinstance(given, str) else given)
    return types | {"integer"} if "number" in types else types


def _values_of(found: Sequence[Document]) -> frozenset[str] | None:
    """Collect the listed values; None where one alternative lists none (`null` counts as one)."""
    values = set[str]()
    for schema in found:
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if listed is not None:
            values |= {str(one) for one in listed}
        elif schema.get("type") != "null":
            return None
    return frozenset(values)


def _types(place: _Place, before: _Shape, now: _Shape) -> Iterator[str]:
    if place.is_request and (lost := before.types - now.types):
        yield f"{place.name}: may no longer be {', '.join(sorted(lost))}"
    if not place.is_request and (gained := now.types - before.types):
        yield f"{place.name}: may now be {', '.join(sorted(gained))}"


def _values(place: _Place, before: _Shape, now: _Shape) -> Iterator[str]:
    if before.values is not None and now.values is not None:
        for value in sorted(before.values - now.values):
            yield f"{place.name}: the value {value} is gone"
    elif place.is_request and now.values is not None:
        yield f"{place.name}: only some values are allowed now"


def _required(place: _Place, before: _Shape, now: _Shape) -> Iterator[str]:
    if place.is_request:
        for name in sorted(now.required - before.required):
            yield f"{place.name}/{name}: is required now"
    else:
        for name in sorted((before.required - now.required) & now.members.keys()):
            yield f"{place.name}/{name}: may be missing now"


def _bounds(place: _Place, before: _Shape, now: _Shape) -> Iterator[str]:
    for name in _NARROWER_IF_LESS:
        if now.bounds.get(name, float("inf")) < before.bounds.get(name, float("inf")):
            yield f"{place.name}: {name} is lower"
    for name in _NARROWER_IF_MORE:
        if now.bounds.get(name, float("-inf")) > before.bounds.get(name, float("-inf")):
            yield f"{place.name}: {name} is higher"
