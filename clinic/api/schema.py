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
ON_A_POST = {"422": ("The Idempotency-Key was used for another request.", REFUSAL)}
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "maxLength": 255},
    "description": "Of your choice, such as a UUID. For 24 hours the same request with the same key is not done again "
    "but answered as before; while the first one is being worked on the answer is 409 (`in_flight`), and the key of "
    "another request is refused with 422.",
}


def say_refusals(result: dict[str, Any], **_about: Any) -> dict[str, Any]:
    """A hook of the schema's generator (SPECTACULAR_SETTINGS)."""
    for address, methods in result["paths"].items():
        for method, operation in methods.items():
            refusals = ANYWHERE | (ON_A_ROW if "{" in address else {}) | (ON_A_POST if method == "post" else {})
            if method == "post":
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
            for status, (meaning, shape) in refusals.items():
                content = {"application/json": {"schema": shape}}
                operation["responses"].setdefault(status, {"description": meaning, "content": content})
    return result
