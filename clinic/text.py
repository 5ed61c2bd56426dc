"""Text on its way in: what cannot be shown, stored or mailed is taken out before anything else looks at it."""

import unicodedata

# Control characters, halves of surrogate pairs (PostgreSQL stores neither NUL nor those) and unassigned code points.
UNWANTED = frozenset({"Cc", "Cs", "Cn"})
# Invisible marks that turn the reading direction around: with them a name can be made to look like another.
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def clean(text: str, *, lines: bool = False) -> str:
    """`text` in composed form (NFC), without control characters, and with one space wherever there was white space.

    With `lines` the line breaks stay: for notes and reasons, never for names.
    """
    if lines:
        return "\n".join(clean(line) for line in text.splitlines()).strip()
    spaced = (" " if mark.isspace() else mark for mark in text if mark.isspace() or _wanted(mark))
    return unicodedata.normalize("NFC", " ".join("".join(spaced).split()))


def _wanted(mark: str) -> bool:
    return mark not in TURNING and unicodedata.category(mark) not in UNWANTED
