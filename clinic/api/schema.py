"""What the schema says of every address, so that no view has to."""

from typing import Any

REFUSAL = {"$ref": "#/components/schemas/Refusal"}
INVALID = {
    "allOf": [REFUSAL],
    "type": "object",
    "properties": {"fields": {"type": "object", "description": "Field name: what is wrong with it."}},
}
ANYWHERE = {
    "400": ("Some of what was sent is not right.", INVALID),
    "401": ("Nobody we know, or a token that has ended.", REFUSAL),
    "403": ("Not for this caller.", REFUSAL),
    "429": ("Too many requests; wait a little.", REFUSAL),
}
ON_A_ROW = {"404": ("There is no such thing at the caller's sites.", REFUSAL)}


def say_refusals(result: dict[str, Any], **_about: Any) -> dict[str, Any]:
    """A hook of the schema's generator (SPECTACULAR_SETTINGS)."""
    for address, methods in result["paths"].items():
        for operation in methods.values():
            for status, (meaning, shape) in (ANYWHERE | (ON_A_ROW if "{" in address else {})).items():
                content = {"application/json": {"schema": shape}}
                operation["responses"].setdefault(status, {"description": meaning, "content": content})
    return result
