"""Reads `/metrics` as Prometheus does."""

from collections.abc import Mapping
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

Samples: TypeAlias = Mapping[str, float]
"""`name{label="value"}` to its number, labels in the order of the alphabet."""


def samples(page: str) -> Samples:
    return {
        _series(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def kinds(page: str) -> dict[str, str]:
    """The type of every metric on the page, counters with their `_total`."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(page)
    }


def labels(page: str) -> dict[str, dict[str, set[str]]]:
    """By sample: the values of each of its labels."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            for name, value in sample.labels.items():
                found.setdefault(sample.name, {}).setdefault(name, set()).add(value)
    return found


def moved(before: Samples, after: Samples) -> dict[str, float]:
    """What is not as it was, by how much."""
    return {
        series: value - before.get(series, 0)
        for series, value in after.items()
        if value != before.get(series, 0)
    }


def _series(name: str, given: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(given.items()))
    return f"{name}{{{inside}}}" if inside else name
