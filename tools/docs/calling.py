"""Puts the example service into the page that explains it."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"^(?P<opening><!-- (?P<file>examples/service\.py) -->\n```python\n).*?(?=^```$)",
    re.MULTILINE | re.DOTALL,
)


def calling_page() -> str:
    """Return the page as it is, with the example's text of now."""
    page = _text(DOCS / "calling.md")
    return _BLOCK.sub(lambda found: found["opening"] + _text(DOCS / found["file"]), page)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
