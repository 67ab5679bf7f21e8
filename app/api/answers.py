"""How answers are written: exact numbers, instants with Z."""

from fastapi import Response
from typing_extensions import override

from app.domain.exact_json import render


class ExactJSON(Response):
    """JSON that keeps every digit (see `app/domain/exact_json.py`)."""

    media_type = "application/json"

    @override
    def render(self, content: object) -> bytes:
        return render(content).encode()
