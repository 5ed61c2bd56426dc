"""Text on its way in: what cannot be shown, stored or mailed is taken out before anything else looks at it."""

import re
import textwrap
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


LONGEST_LINE = 76  # of 78 that RFC 5322 recommends, so that a quoted answer still fits
NUMBER = re.compile(r"[+0-9][0-9 ()/.-]{5,}[0-9]")
NUMBER_KEPT = re.compile(NUMBER.pattern.replace(" ", "\N{NO-BREAK SPACE}"))


def wrapped(text: str) -> str:
    """`text` for a plain mail: no line longer than a reader's window. A link, and a phone number, stay in one piece."""
    lines = (
        textwrap.fill(line, LONGEST_LINE, break_long_words=False, break_on_hyphens=False)
        for line in unbroken(text).splitlines()
    )
    return NUMBER_KEPT.sub(lambda number: number[0].replace("\N{NO-BREAK SPACE}", " "), "\n".join(lines))


def unbroken(text: str) -> str:
    """`text` whose phone numbers are not broken over two lines."""
    return NUMBER.sub(lambda number: number[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def dialled(phone: str) -> str:
    """A phone number as a machine dials it (ITU-T E.164), or "" if nobody but a person can know which country it is in:
    "+1 (312) 555-0142" becomes "+13125550142"."""
    written = phone.replace("\N{NO-BREAK SPACE}", " ").replace("(0)", "")  # +49 (0)30: dialled at home only
    digits = re.sub(r"[ ()/.-]", "", written)
    digits = f"+{digits[2:]}" if digits.startswith("00") else digits
    return digits if re.fullmatch(r"\+[1-9][0-9]{6,14}", digits) else ""
