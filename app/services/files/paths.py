"""Where the files of each client are at kie.ai and in the archive: nobody's are in another's way.

kie.ai overwrites a file with the next one of the same path and name, of whichever client.
"""

from collections.abc import Mapping
from uuid import UUID

from app.domain.uploads import UPLOADS_LIVE, Wishes, clean_name, clean_path

LIVES = UPLOADS_LIVE.total_seconds()

ROOT = "kie-gateway"
"""Where at kie.ai the gateway's uploads are; each client has a place of its own below."""


def place_of(client_id: UUID, at_kie: str, wishes: Wishes | None = None) -> Mapping[str, str]:
    """Return the upload form's fields."""
    if wishes is None:
        return {"uploadPath": f"{ROOT}/{client_id}", "fileName": at_kie}
    path = "/".join(part for part in (ROOT, str(client_id), clean_path(wishes.path)) if part)
    return {"uploadPath": path, "fileName": clean_name(wishes.name) if wishes.name else at_kie}


def object_name(client_id: UUID, at_kie: str) -> str:
    """Return what the archive calls the copy of an upload."""
    return f"{client_id}/uploads/{at_kie}"
