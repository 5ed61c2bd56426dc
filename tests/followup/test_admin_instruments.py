"""The wordings at the desk: how they are scored, by what licence, why one is not asked; in use and out of it."""

import re
from datetime import UTC, datetime

import pytest
import time_machine
from django.urls import reverse

from clinic.admin import show
from followup import events, instruments
from followup.admin.chart import outcome_of
from followup.demo import walk
from followup.models import FollowUpEvent, Instrument, Licence, Response
from scheduling.models import Episode
from tests.desk import Desk, offered, refusals, said
from tests.followup.test_instruments import RECORD


@pytest.fixture
def desk(coordinator):
    return Desk(coordinator)


@pytest.fixture
def odi(site):
    return Instrument.objects.get(code="odi")


@pytest.fixture
def licensed(odi, at):
    form = {key: value for key, value in odi.questionnaire.items() if key != "experimental"}
    return instruments.load(form | {"version": "2.1a"}, licence=RECORD, at=at)


def test_a_wording_tells_its_recall_its_rules_and_its_licence(desk, licensed, at):
    with time_machine.travel(at, tick=False):
        page = desk.page(licensed).content.decode()

    assert [
        words
        for words in (
            "today",
            "ODI 0-100 (rule 1)",
            "97909-6",
            "the highest counts",
            "Mapi Research Trust",
            "4711",
            "In use",
        )
        if words not in page
    ] == []


def test_nothing_of_a_wording_can_be_typed_over(desk, licensed):
    before = Instrument.objects.filter(pk=licensed.pk).values().get()

    desk.client.post(
        reverse("admin:followup_instrument_change", args=[licensed.pk]),
        {"title": "Mine", "placeholder": "", "active": "", "recall": "ever", "rules": "{}", "licence": ""},
    )

    assert Instrument.objects.filter(pk=licensed.pk).values().get() == before


def test_the_page_of_a_wording_whose_licence_has_ended_says_so(desk, licensed):
    with time_machine.travel(datetime(2028, 2, 1, tzinfo=UTC), tick=False):
        page = desk.page(licensed).content.decode()

    assert "The licence of Mapi Research Trust ended on 31 January 2028; load the renewed record." in page
    assert "Not asked" in page


def test_a_placeholder_is_not_offered_outside_a_demo(desk, odi, settings, at):
    settings.DEMO = False
    instruments.load_all(at=at)

    page = desk.page(odi)
    desk.take(odi, "activate", reason="We want it")

    odi.refresh_from_db()
    assert offered(page) == []
    assert "it works in demo mode only" in page.content.decode()
    assert (odi.active, odi.for_demo) == (False, False)


def test_a_wording_is_taken_out_of_use_and_back_with_a_reason(desk, site):
    vas = Instrument.objects.get(code="pain-vas", language="en")

    silent = desk.take(vas, "retire", reason="")
    out = desk.take(vas, "retire", reason="The line is being reworded.")
    back = desk.take(vas, "activate", reason="It was not.")

    vas.refresh_from_db()
    assert silent.context["form"].errors.keys() == {"reason"}
    assert (said(out), out.url) == ("Back pain 1 (en) is no longer asked.", show.page_of(vas))
    assert said(back) == "Patients are now asked in the words of Back pain 1 (en)."
    assert vas.active
    assert "It was not." in desk.page(vas).content.decode()


def test_an_ended_licence_is_not_taken_into_use(desk, licensed, at):
    instruments.retire(licensed, reason="Not needed", by="ann", at=at)

    with time_machine.travel(datetime(2028, 2, 1, tzinfo=UTC), tick=False):
        response = desk.take(licensed, "activate", reason="Needed again")

    assert refusals(response) == [
        "The licence of Mapi Research Trust ended on 31 January 2028; load the renewed record."
    ]


def test_a_licence_is_shown_and_cannot_be_changed(desk, licensed):
    licence = Licence.objects.get()

    page = desk.page(licence)
    desk.client.post(reverse("admin:followup_licence_change", args=[licence.pk]), {"expires_on": "2099-01-01"})

    assert "Dr Amara Okafor" in page.content.decode()
    assert desk.list(Licence).status_code == 200
    assert Licence.objects.get().expires_on == licence.expires_on


def test_a_response_says_how_it_was_scored(desk, injected):
    events.open_due(at=injected.anchor_at)
    walk.answer(
        injected,
        "month-6",
        vas=20,
        at=walk.at_noon(FollowUpEvent.objects.with_dates().get(episode=injected, code="month-6").due_on),
    )
    response = Response.objects.get(instrument_code="odi")

    page = desk.page(response).content.decode()

    assert "odi 1, at least 9 answered" in page
    assert "half-up, 0 decimals" in page


def test_two_versions_have_two_pictures_and_two_columns(injected, at):
    events.open_due(at=injected.anchor_at)
    due = {event.code: event for event in FollowUpEvent.objects.with_dates().filter(episode=injected)}
    walk.answer(injected, "week-4", vas=50, at=walk.at_noon(due["week-4"].due_on))
    form = Instrument.objects.get(code="pain-vas", language="en").questionnaire
    instruments.load(form | {"version": "2"}, at=at)
    walk.answer(injected, "month-3", vas=20, at=walk.at_noon(due["month-3"].due_on))

    picture = str(outcome_of(Episode.objects.get(pk=injected.pk)))

    captions = re.findall("<figcaption>(.*?)</figcaption>", picture)
    assert captions == [
        "Back pain: VAS 0-100 mm, past 7 days, version 1",
        "Daily activities: ODI 0-100, today",
        "Back pain: VAS 0-100 mm, past 7 days, version 2",
    ]
    assert picture.count('<line class="series"') == 1  # the ODI; the two lines of pain are never joined
    assert re.findall(r"<th[^>]*>(VAS.*?)</th>", picture) == [caption[11:] for caption in (captions[0], captions[2])]
