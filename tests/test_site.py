"""The documentation's site has every page, leads nowhere wrong, and asks no other host."""

import subprocess
from pathlib import Path

import pytest

from tools.site.check import broken, foreign
from tools.site.configuration import configuration
from tools.site.navigation import sections
from tools.site.stage import staged

ROOT = Path(__file__).parents[1]


def site_of(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://cdn.test/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.test/css?family=Roboto">',
        "<link href='https://fonts.test' rel='preconnect'>",
        "<img src=https://host.test/a.png>",
        '<img srcset="a.html 1x, https://host.test/a.png 2x">',
        '<iframe src="http://host.test/"></iframe>',
    ],
)
def test_a_request_to_another_host_is_found(tmp_path: Path, body: str) -> None:
    assert foreign(site_of(tmp_path, a="<p>")) == []
    (said,) = foreign(site_of(tmp_path, b=body))
    assert said.startswith("b.html: <")


def test_a_style_sheet_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@import 'https://x.test/a.css'; b {background: url(c.png)}")
    assert foreign(tmp_path) == ["a.css: https://x.test/a.css"]


@pytest.mark.parametrize(
    "link", ["nowhere.html", "b.html#nowhere", "#nowhere", "../outside.html", "b.html?x#nowhere"]
)
def test_a_broken_link_is_found(tmp_path: Path, link: str) -> None:
    good = '<a href="b.html#here">b</a><a href="https://kie.ai">kie.ai</a><a href="#">up</a>'
    assert broken(site_of(tmp_path, a=good, b='<h2 id="here">')) == []
    assert broken(site_of(tmp_path, a=f'{good}<a class=x href="{link}">')) == [f"a.html: {link}"]


def test_every_page_is_in_the_navigation_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    staged(ROOT, source)
    shown = [page for _, pages in sections(source) for page in pages]
    assert sorted(shown) == sorted(
        page.relative_to(source).as_posix() for page in source.rglob("*.md")
    )
    written = configuration(source, tmp_path / "site", tmp_path)
    assert [page for page in shown if f'"{page}"' not in written] == []


def test_links_lead_to_where_pages_are_on_the_site(tmp_path: Path) -> None:
    root, source = tmp_path / "root", tmp_path / "source"
    (root / "docs" / "decisions").mkdir(parents=True)
    for name, text in {
        "README.md": "[a](docs/a.md#b) [code](app/main.py) [why](docs/decisions) ![p](docs/p.svg)",
        "CHANGELOG.md": "```\n[a](docs/a.md)\n```\n",
        "CONTRIBUTING.md": "[out](https://kie.ai)",
        "SECURITY.md": "",
        "docs/a.md": "[secure](../SECURITY.md) [one](decisions/0001-x.md)",
        "docs/p.svg": "",
        "docs/decisions/0001-x.md": "# 1. One\n[a](../a.md) [readme](../../README.md)",
    }.items():
        (root / name).write_text(text, encoding="utf-8")
    staged(root, source)
    found = {path.name: path.read_text(encoding="utf-8") for path in source.rglob("*.md")}
    assert found["CHANGELOG.md"] == "```\n[a](docs/a.md)\n```\n"
    assert found["CONTRIBUTING.md"] == "[out](https://kie.ai)"
    assert found["a.md"] == "[secure](SECURITY.md) [one](decisions/0001-x.md)"
    assert found["0001-x.md"] == "# 1. One\n[a](../a.md) [readme](../index.md)"
    assert "- [1. One](0001-x.md)" in (source / "decisions" / "index.md").read_text("utf-8")
    front = (source / "index.md").read_text(encoding="utf-8")
    assert front == "[a](a.md#b) code [why](decisions/index.md) ![p](p.svg)"


@pytest.mark.long
def test_the_site_is_built_and_good() -> None:
    done = subprocess.run(
        ["/usr/bin/env", "make", "site"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    assert (foreign(site), broken(site)) == ([], [])
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    assert pages >= {"index.html", "settings.html", "errors.html", "metrics.html"}
    assert "decisions/0001-the-row-is-the-job.html" in pages
    assert "GATEWAY_DATABASE_URL" in (site / "search.json").read_text(encoding="utf-8")
