"""Names and types of files, as strangers may give them."""

import time

import pytest

from app.domain.file_errors import UnsupportedFileTypeError
from app.domain.uploads import (
    HEAD,
    MAX_NAME,
    checked_type,
    clean_name,
    clean_path,
    ending_for,
    sniffed,
)

ALLOWED = ("image/*", "video/*", "audio/*", "text/*", "application/pdf")
TYPES = {
    "a picture": (None, b"\x89PNG\r\n\x1a\nx", "a.bin", "image/png"),
    "as it says": ("image/webp; q=1", b"RIFF....WEBPVP8 ", "a", "image/webp"),
    "a container": ("audio/mp4", b"\0\0\0\x20ftypisom", "a.m4a", "video/mp4"),
    "by its ending": ("application/octet-stream", b"1\n00:00 hi", "a.srt", "text/plain"),
    "as it is said to be": ("text/csv", b"a,b", "a", "text/csv"),
    "nonsense said": ("a picture!", b"\xff\xd8\xff\xe0", "a", "image/jpeg"),
}
REFUSED = {
    "a page": (None, b" \n<!DOCTYPE  html>", "a.png"),
    "a drawing": ("image/svg+xml", b"<svg onload=x>", "a.svg"),
    "a page that says text": ("text/html", b"hello", "a"),
    "a program": ("image/png", b"MZ\x90", "a.png"),
    "a script": ("text/plain", b"#!/bin/sh", "a.txt"),
    "no picture": ("image/png", b"hello", "a.png"),
    "no text": ("text/plain", b"a\0b", "a.txt"),
    "not among the types": ("application/zip", b"PK\x03\x04", "a.zip"),
    "unknown": (None, b"\x01\x02", "a"),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_what_the_bytes_show(name: str) -> None:
    declared, head, called, found = TYPES[name]
    assert checked_type(declared, head, called, ALLOWED) == found


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_lies_or_runs_is_refused(name: str) -> None:
    declared, head, called = REFUSED[name]
    with pytest.raises(UnsupportedFileTypeError):
        checked_type(declared, head, called, ALLOWED)
    if name not in ("not among the types", "unknown"):
        with pytest.raises(UnsupportedFileTypeError):
            checked_type(declared, head, called, ("*/*",))


def test_names_and_paths_are_harmless_and_short() -> None:
    assert clean_name('a"\r\nX: y\0.png') == "a_X_ y.png"
    assert len(clean_name("x" * 5000 + ".jpeg")) == MAX_NAME
    assert clean_name("x" * 5000 + ".jpeg").endswith(".jpeg")
    assert clean_path("/a/../b\\c//./d") == "a/b/c/d"
    assert clean_path("../" * 300) == ""
    assert ending_for("a", "image/png") == ".png"
    assert ending_for("a.jpg", "image/png") == ".jpg"


def test_hostile_heads_and_names_take_linear_time() -> None:
    def seconds(n: int) -> float:
        began = time.perf_counter()
        sniffed(b" " * n)
        clean_name("./" * n)
        clean_path("a/" * n)
        return time.perf_counter() - began

    seconds(HEAD)
    assert seconds(2_000_000) < 0.5
