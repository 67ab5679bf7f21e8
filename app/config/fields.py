"""What a field of the settings says of itself: whether it is secret, and its default."""

import json

from pydantic.fields import FieldInfo

from app.config.values import Address


def is_secret(field: FieldInfo) -> bool:
    """Whether the type says so, however deep in a list or an option."""
    return "SecretStr" in repr(field.annotation)


def shown(field: FieldInfo) -> str:
    """Write the default as markdown, the way a variable holds it."""
    default = field.default
    if default is None:
        return "none"
    if isinstance(default, (bool, list, tuple)) and not isinstance(default, Address):
        return f"`{json.dumps(default)}`"
    return f"`{default}`"
