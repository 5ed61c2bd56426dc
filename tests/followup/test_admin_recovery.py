"""At the desk: what went wrong, orders and studies of MRI, and two readers who do not see each other's grades."""

from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse

from clinic.admin import show
from followup import events, imaging
from followup.demo import walk
from followup.models import AdverseEvent, Alert, FollowUpEvent, MriOrder
from followup.states import AdverseEventStatus, EventStatus
from scheduling import studies
from scheduling.models import MriStudy, Resource
from tests.desk import Desk, offered, refusals, rows, said

DAY = timedelta(days=1)
SORE = {"term": "Soreness", "ctcae_version": "5.0", "grade": "1", "onset_on": "2026-05-12", "outcome": "ongoing"}


@pytest.fixture
def desk(coordinator):
    return Desk(coordinator)


@pytest.fixture
def followed(injected):
    events.open_due(at=injected.anchor_at)
    return injected


@pytest.fixture
def alert(followed):
    check = FollowUpEvent.objects.get(episode=followed, code="day-3")
    walk.follow_up(check, vas=40, at=followed.anchor_at + 3 * DAY, worried=True)
    return Alert.objects.get()


@pytest.fixture
def event(followed):
    return FollowUpEvent.objects.with_dates().get(episode=followed, code="mri-month-6")


@pytest.fixture
def read(event):
    """The study of six months, read by Dr A."""
    discs = [{"level": "L4/5", "grade": 3}, {"level": "L5/S1", "grade": 2}]
    at = walk.at_noon(event.due_on)
    return imaging.read(event, acquired_on=event.due_on, scale="pfirrmann5", discs=discs, by="Dr A", at=at)


def at_the(moment):
    return time_machine.travel(moment, tick=False)


def queue(desk, title):
    looks = {look.queue.title: look for look in desk.client.get(reverse("admin:index")).context["queues"]}
    return looks[title]


# What went wrong


def test_one_click_on_a_worrying_answer_opens_the_record_with_its_words(desk, alert, followed):
    with at_the(followed.anchor_at + 4 * DAY):
        asked = desk.ask(alert, "adverse-event").context["form"]
        taken = desk.take(alert, "adverse-event", **SORE)
    event = AdverseEvent.objects.get()

    assert asked["term"].initial == alert.detail.splitlines()[0]
    assert asked["onset_on"].initial.isoformat() == "2026-05-14"
    assert (event.alert, event.episode, event.recorded_by) == (alert, followed, "coordinator")
    assert taken.url == show.page_of(event)
    assert said(taken) == "Recorded for Reyes, Marta: Soreness, grade 1."


def test_the_words_of_an_answer_never_stand_in_an_address(desk, alert):
    page = desk.page(alert)

    urls = [step["url"] for step in page.context["possible"] if step["label"] == "Record an adverse event"]

    assert urls == [show.step_page(alert, "adverse-event")]


def test_a_serious_event_stands_on_the_first_page_until_it_is_closed(desk, followed):
    with at_the(followed.anchor_at + 4 * DAY):
        serious = SORE | {"grade": "3", "seriousness": ["hospitalisation"]}
        desk.take(followed, "adverse-event", **serious)
        event = AdverseEvent.objects.get()
        first = queue(desk, "Serious adverse events")
        desk.take(event, "follow")
        desk.take(event, "close", reason="Home again")
        last = queue(desk, "Serious adverse events")

    assert [line.who for line in first.lines] == ["Reyes, Marta"]
    assert last.count == 0
    assert AdverseEvent.objects.get().status == AdverseEventStatus.CLOSED


def test_a_correction_begins_with_what_is_recorded_and_wants_to_know_why(desk, followed):
    with at_the(followed.anchor_at + 4 * DAY):
        desk.take(followed, "adverse-event", **SORE)
        event = AdverseEvent.objects.get()
        form = desk.ask(event, "correct").context["form"]
        silent = desk.take(event, "correct", **(SORE | {"grade": "2"}))
        spoken = desk.take(event, "correct", **(SORE | {"grade": "2"}), reason="Asked again")
        page = desk.page(event).content.decode()

    assert (form["term"].initial, form["grade"].initial) == ("Soreness", 1)
    assert silent.context["form"].errors.keys() == {"reason"}
    assert said(spoken) == "Corrected: Soreness, grade 2."
    assert "Grade: 1, now 2. Asked again" in page


def test_a_death_that_is_not_said_in_full_is_refused_on_the_page(desk, followed):
    with at_the(followed.anchor_at + 4 * DAY):
        response = desk.take(followed, "adverse-event", **(SORE | {"grade": "5"}))

    assert refusals(response) == ["A death is grade 5, serious as a death, and its outcome is fatal: say all three."]


# MRI


def test_an_mri_is_ordered_and_received_at_the_desk(desk, event):
    with at_the(walk.at_noon(event.opens_on)):
        ordered = desk.take(event, "order", sequences=["sagittal-t2", "sagittal-t1"])
        page = desk.page(event)
        received = desk.take(event, "receive", acquired_on=event.opens_on.isoformat(), scanner="Harbour Imaging")
        waiting = queue(desk, "MRIs to read")
    study = MriStudy.objects.get(scanner="Harbour Imaging")

    assert said(ordered) == "Ordered: Sagittal T2, Sagittal T1."
    assert "Order the MRI" in offered(page)
    assert said(received).startswith("The MRI of Reyes, Marta has come. Next: somebody reads it. The baseline MRI was ")
    assert FollowUpEvent.objects.get(pk=event.pk).status == EventStatus.DONE
    assert MriOrder.objects.get().status == "done"
    assert [line.url for line in waiting.lines] == [show.page_of(study)]


def test_the_page_of_a_booked_mri_warns_of_another_scanner(desk, event, site):
    Resource.objects.filter(site=site, kind="mri_scanner").update(active=False)
    Resource.objects.create(site=site, kind="mri_scanner", name="Scanner North")
    at = walk.at_noon(event.opens_on - 20 * DAY)
    booked = imaging.book(event, option=imaging.find(event, at=at, limit=1).options[0], by="ann", at=at)

    with at_the(at):
        pages = [desk.page(row).content.decode() for row in (event, booked.appointment)]

    words = "The baseline MRI was made on MRI scanner, this one is booked on Scanner North."
    assert [words in page for page in pages] == [True, True]


def test_an_mri_that_was_made_waits_until_its_study_has_come(desk, event):
    at = walk.at_noon(event.opens_on - 20 * DAY)
    booked = imaging.book(event, option=imaging.find(event, at=at, limit=1).options[0], by="ann", at=at)
    with at_the(booked.appointment.during.lower):
        desk.take(booked.appointment, "arrive")
        desk.take(booked.appointment, "fulfil")
        waiting = queue(desk, "MRIs that were made and have not come")

    assert [line.url for line in waiting.lines] == [show.page_of(event)]


def test_the_second_readers_form_shows_nothing_of_the_first(desk, read):
    page = desk.ask(read, "second")
    form = page.context["form"]

    assert [row.initial for row in form.formsets["discs"]] == [
        {"level": level} for level in ("L1/2", "L2/3", "L3/4", "L4/5", "L5/S1")
    ]
    assert "Dr A" not in page.content.decode()


def test_readers_who_differ_wait_for_their_consensus(desk, read):
    again = rows("discs", [{"level": "L4/5", "grade": "4"}, {"level": "L5/S1", "grade": "2"}], known=2)

    own = desk.take(read, "second", scale="pfirrmann5", read_by="Dr A", **again)
    second = desk.take(read, "second", scale="pfirrmann5", read_by="Dr B", blinded="yes", **again)
    waiting = queue(desk, "Readers who differ")
    page = desk.ask(read, "consensus").context["form"].formsets["discs"]
    agreed = rows("discs", [{"level": "L4/5", "grade": "4"}], known=1)
    desk.take(read, "consensus", scale="pfirrmann5", read_by="Dr A and Dr B", **agreed)

    assert refusals(own) == ["Dr A read it first. A second reader is somebody else."]
    assert said(second).endswith("The readers differ in L4/5: they agree on those next.")
    assert [line.what.partition(",")[0] for line in waiting.lines] == ["L4/5"]
    assert [row.initial for row in page] == [{"level": "L4/5"}]
    assert queue(desk, "Readers who differ").count == 0
    assert [disc.blinded for disc in studies.read_as(read, "second")] == [True, True]


def test_the_page_of_a_treatment_says_what_became_of_each_disc(desk, read, followed):
    page = desk.page(followed).content.decode()

    assert "What became of the discs?" in page
    assert "L4/5 (treated)" in page
    assert "1 grade better" in page
    assert "not comparable: Not read now." in page


def test_stages_are_planned_on_the_page_until_the_injection(desk, booked, inject, at):
    with at_the(at):
        before = desk.page(booked).content.decode()
    episode = inject(booked)
    with at_the(episode.anchor_at + DAY):
        after = desk.page(episode).content.decode()

    assert before.count("</span> Planned</span>") >= 5
    assert after.count("</span> Planned</span>") == 0
    assert "</span> Now</span>" in after
