"""What the builder is told: no font, script or icon comes from another host."""

import json
from collections.abc import Iterator
from pathlib import Path

from tools.site.navigation import sections

_CONFIGURATION = """\
[project]
site_name = "kie-gateway"
docs_dir = {source}
site_dir = {site}
use_directory_urls = false
nav = {navigation}

[project.theme]
language = "en"
font = false
features = [
  "navigation.tabs", "navigation.footer", "navigation.top", "navigation.indexes",
  "toc.follow", "search.highlight", "content.code.copy",
]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"

[project.markdown_extensions.attr_list]
[project.markdown_extensions.tables]
[project.markdown_extensions.sane_lists]
[project.markdown_extensions.toc]
permalink = true
[project.markdown_extensions.pymdownx.highlight]
[project.markdown_extensions.pymdownx.superfences]
"""


def configuration(source: Path, site: Path, base: Path) -> str:
    """Write the builder's configuration, for a file in `base`."""
    return _CONFIGURATION.format(
        source=json.dumps(source.relative_to(base).as_posix()),
        site=json.dumps(site.relative_to(base).as_posix()),
        navigation="[\n" + ",\n".join(_navigation(source)) + ",\n]",
    )


def _navigation(source: Path) -> Iterator[str]:
    for title, pages in sections(source):
        listed = ", ".join(json.dumps(page) for page in pages)
        yield f"  {{ {json.dumps(title)} = [{listed}] }}"
