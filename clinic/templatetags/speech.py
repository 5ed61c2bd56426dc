"""Dates in a patient's page or mail, said as its language says them: the clock knows how, Django knows in which."""

from datetime import date

from django import template

from clinic import clock, languages

register = template.Library()


@register.filter
def in_words(day: date) -> str:
    return clock.spoken_day(day, languages.current())
