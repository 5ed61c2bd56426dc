"""`make messages`: gathers what patients are told out of templates, code and shipped plans, and brings clinic/locale/
in step. No gettext tools: Django turns a template into something Python-like, Babel reads, merges and compiles it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from dev import PROJECT

APPS = ("clinic", "scheduling", "followup")
LOCALE = PROJECT / "clinic" / "locale"
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")

Found = tuple[str | tuple[str, str], str | None]  # what is said (one and many), and in which context


def gather() -> Catalog:
    """Everything that is said to patients, without a translation."""
    said = Catalog(project="Pulposus", charset="utf-8")
    for app in APPS:
        for path in sorted((PROJECT / app).rglob("*")):
            for words, context in _said_in(path):
                said.add(words, context=context, locations=[(str(path.relative_to(PROJECT)), 1)])
    return said


def _said_in(path: Path) -> Iterator[Found]:
    if path.suffix == ".py" and "migrations" not in path.parts:
        yield from _marked(path.read_text(encoding="utf-8"))
    elif path.suffix in {".html", ".txt"} and "templates" in path.parts:
        # Only the marked words are of interest: without their indents the lines are Python enough to be read.
        lines = templatize(path.read_text(encoding="utf-8")).splitlines()
        yield from _marked("\n".join(line.strip() for line in lines))
    elif path.suffix == ".json" and path.parent.name == "plans":
        for stage in json.loads(path.read_text(encoding="utf-8"))["stages"]:
            yield stage["advice"], None


def _marked(source: str) -> Iterator[Found]:
    for _, function, given, _ in extract_python(BytesIO(source.encode()), list(KEYWORDS), [], {"encoding": "utf-8"}):
        words = [given] if isinstance(given, str) else list(given or ())
        context = words.pop(0) if function and "pgettext" in function else None
        if words:  # none where a variable is translated
            yield (words[0], words[1]) if function and function.startswith("n") else words[0], context


def catalogue(language: str) -> Catalog:
    with _file(language).open("rb") as file:
        return read_po(file, locale=language)


def compiled(translated: Catalog) -> bytes:
    """What the service reads, byte by byte."""
    file = BytesIO()
    write_mo(file, translated)
    return file.getvalue()


def languages() -> list[str]:
    return sorted(folder.name for folder in LOCALE.iterdir() if folder.is_dir())


def faults(said: Catalog, translated: Catalog) -> list[str]:
    """What a patient with this language would read in English, or wrongly; and what nobody says any more."""
    wrong = [fault for message in said if message.id for fault in _faults(message, translated)]
    stale = [f"is not said any more: {words}" for words in _ids(translated) - _ids(said)]
    return sorted(wrong + stale)


def _faults(message: Message, translated: Catalog) -> Iterator[str]:
    known = translated.get(message.id, message.context)
    if known is None or not all(_forms(known.string)):
        yield f"is not translated: {message.id}"
    elif known.fuzzy:
        yield f"is only guessed (fuzzy): {message.id}"
    elif not _same_places(message, known):
        yield f"has other placeholders: {message.id}"


def _same_places(message: Message, known: Message) -> bool:
    """Each form says what its English says; the forms for one, two and so on need not repeat the number."""
    asked, forms = _forms(message.id), _forms(known.string)
    whole = _places(asked[-1])
    if len(asked) == 1:
        return _places(forms[0]) == whole
    return _places(forms[-1]) == whole and all(set(_places(form)) <= set(whole) for form in forms)


def _places(text: str) -> list[str]:
    return sorted(PLACEHOLDER.findall(text))


def _forms(text: str | tuple[str, ...] | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _ids(of: Catalog) -> set[tuple[str, str | None]]:
    return {(_forms(message.id)[0], message.context) for message in of if message.id}


def _file(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def bring_in_step(language: str, said: Catalog) -> Catalog:
    path = _file(language)
    if path.exists():
        translated = catalogue(language)
    else:
        path.parent.mkdir(parents=True)
        translated = _begun(language)
    said.creation_date = translated.creation_date  # a new date alone is no change
    translated.update(said, no_fuzzy_matching=True)
    with path.open("wb") as file:
        write_po(file, translated, width=116, ignore_obsolete=True, include_lineno=False, sort_by_file=True)
    # Read again, so that the same words give the same bytes whenever they are compiled.
    translated = catalogue(language)
    path.with_suffix(".mo").write_bytes(compiled(translated))
    return translated


def _begun(language: str) -> Catalog:
    return Catalog(
        locale=language,
        header_comment="# What a patient is told. `make messages` brings this in step with templates and code.",
        project="Pulposus",
        version="0",
        revision_date=datetime.now(UTC),
        last_translator="the project",
        language_team="the project",
        charset="utf-8",
        fuzzy=False,
    )


def main() -> int:
    said = gather()
    found = []
    for language in sorted({*languages(), *sys.argv[1:]}):
        found += [f"{language} {fault}" for fault in faults(said, bring_in_step(language, said))]
    print("\n".join(found) or "Every language says everything.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
