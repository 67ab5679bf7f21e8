"""The OpenAPI document in the repository: `docs/openapi.json`, every path of the service."""

import json
from functools import cache
from typing import Any

from pydantic import SecretStr

from app.config import Settings
from app.main import create_app

_ANY = SecretStr("what-the-document-needs-to-be-made-is-not-used")


@cache
def document() -> dict[str, Any]:
    """Describe all surfaces, with the paths for operators; no database is needed."""
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"),
        secret_keys=(_ANY,),
        kie_api_key=_ANY,
        admin_key=_ANY,
    )
    return create_app(settings, worker=False).openapi()


def openapi_document() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
