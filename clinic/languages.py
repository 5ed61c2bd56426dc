"""Which language a patient is spoken to in, and what language the words are in that a clinic wrote itself."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import translation


@dataclass(frozen=True)
class Words:
    """Text and the language it is in, for text that may be in another one than the page around it."""

    text: str
    language: str

    def __str__(self) -> str:
        return self.text

    @property
    def direction(self) -> str:
        return direction(self.language)


def nearest(tag: str) -> str:
    """The language of ours that a BCP 47 tag asks for: es-MX is answered in es. English if we do not speak it."""
    try:
        return translation.get_supported_language_variant(tag.lower())
    except LookupError:
        return settings.LANGUAGE_CODE


def speaking(tag: str) -> AbstractContextManager[None]:
    """Whatever is rendered inside speaks to a patient with this language."""
    return translation.override(nearest(tag))


def speaking_to(request: HttpRequest) -> AbstractContextManager[None]:
    """The same for somebody of whom we know no more than what their browser asks for."""
    return translation.override(translation.get_language_from_request(request))


def current() -> str:
    return translation.get_language() or settings.LANGUAGE_CODE


def direction(language: str) -> str:
    """For the `dir` attribute."""
    return "rtl" if translation.get_language_info(nearest(language))["bidi"] else "ltr"


def shipped(text: str, *, otherwise: str) -> Words:
    """Text that came with the software is in the catalogue, and said in the language of the page. What a clinic wrote
    in its place is said as it was written, in the language `otherwise`."""
    translated = translation.gettext(text) if text else ""
    return Words(translated, current() if translated != text else otherwise)


def check_texts(texts: object) -> None:
    """The same text by language: {"de": "...", "tr": "..."}."""
    ours = [code for code, _ in settings.LANGUAGES]
    if not isinstance(texts, Mapping) or not all(isinstance(text, str) and text.strip() for text in texts.values()):
        raise ValidationError('Give a text for each language, such as {"de": "...", "tr": "..."}.')
    if unknown := [code for code in texts if code not in ours]:
        raise ValidationError(f"{', '.join(map(str, unknown))}: use the language codes {', '.join(ours)}.")
