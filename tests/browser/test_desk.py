"""A coordinator and a clinician take one patient through all eight steps in a browser, by pressing what the pages
offer; nothing on the way breaks the content security policy."""

import os
import warnings
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from dev import browser
from followup import events, outcomes
from followup.demo import walk
from followup.models import FollowUpEvent, Response
from followup.models.event import EventKind
from followup.states import EventStatus
from scheduling.models import Appointment, Episode
from scheduling.models.protocol import StepCode
from scheduling.states import EpisodeStatus

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = browser.find()
CHICAGO = ZoneInfo("America/Chicago")
BY_HAND = ("day-7", "week-4", "mri-month-6")
PICTURES = os.environ.get("PICTURES")  # a folder: then the walk leaves a picture of every page it stops at

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(400),  # some sixty pages in a real browser
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the desk was not tried in a browser."),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture(scope="module")
def chromium():
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # playwright keeps an event loop in this thread
    with sync_api.sync_playwright() as playwright:
        with warnings.catch_warnings():
            started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Person:
    """Somebody with a browser and a login. Presses what a page offers, by the words on it."""

    def __init__(self, chromium, server, username, *, scheme="light"):
        self.server, self.username = server.url, username
        self.context = chromium.new_context(
            viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)
        self.complaints = []
        self.page.on("console", self.hear)
        self.pictures = 0

    def hear(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def log_in(self):
        self.open(reverse("admin:login"))
        self.page.fill("#id_username", self.username)
        self.page.fill("#id_password", "a long test password")
        self.press("Log in")

    def come_back(self):
        """Another day, another session: without typing the password each time."""
        client = Client()
        client.force_login(get_user_model().objects.get(username=self.username))
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self.server}])

    def open(self, path):
        answer = self.page.goto(path if path.startswith("http") else self.server + path)
        assert answer.status == 200, (path, answer.status)

    def press(self, words):
        """Follow a link or press a button."""
        found = self.page.get_by_role("link", name=words, exact=True).or_(
            self.page.get_by_role("button", name=words, exact=True)
        )
        found.locator("visible=true").first.click()
        self.page.wait_for_load_state()

    def fill(self, **answers):
        for name, value in answers.items():
            field = self.page.locator(f"[name='{name}']")
            if value is True:
                field.check()
            elif field.first.get_attribute("type") in ("radio", "checkbox"):
                self.page.locator(f"[name='{name}'][value='{value}']").check()
            elif field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def take(self, step, **answers):
        """Press a step on a page, answer what it asks, press it again."""
        self.press(step)
        self.fill(**answers)
        self.picture(step)
        self.press(step)
        self.told()

    def told(self):
        """What the desk said has happened; a page without it is a refusal."""
        message = self.page.locator("ul.messagelist li.success, .errornote").first
        message.wait_for()
        assert "success" in message.get_attribute("class"), self.page.locator("#content").inner_text()[:1500]
        return message.inner_text()

    def picture(self, name):
        if PICTURES:
            self.pictures += 1
            slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
            path = Path(PICTURES) / f"{self.username}-{self.pictures:02}-{slug}.png"
            self.page.screenshot(path=str(path), full_page=True)


NO = dict.fromkeys(
    (
        "facet_primary",
        "radiculopathy_from_compression",
        "active_infection",
        "discitis",
        "prior_surgery_at_level",
        "prior_intradiscal_cell_product_at_level",
        "systemic_immunosuppressant",
        "mri_contraindicated",
        "pregnant",
        "breastfeeding",
        "childbearing_potential",
    ),
    "no",
)


def local(instant):
    return instant.astimezone(CHICAGO).strftime("%Y-%m-%dT%H:%M")


def test_one_patient_is_taken_through_all_eight_steps(
    chromium, live_server, coordinator, clinician, at, time_machine, transactional_db
):
    time_machine.move_to(at)
    ann = Person(chromium, live_server, "coordinator")
    doctor = Person(chromium, live_server, "clinician", scheme="dark")
    ann.log_in()
    ann.picture("first page, nothing to do")

    # 1 referred
    ann.press("Patients")
    ann.take(
        "Register a patient",
        family_name="Reyes",
        given_name="Marta",
        mrn="MRN-1",
        birth_date="1980-03-09",
        sex="female",
        email="marta@example.org",
        phone="+1 312 555 0100",
    )
    patient_page = ann.page.url
    ann.take("Receive a referral", source="Family practice", reason="Low back pain for two years")
    ann.take("Accept")
    referral_page = ann.page.url

    # 2 evaluated: the baseline MRI first, because the evaluation rests on it
    ann.open(reverse("admin:scheduling_mristudy_add"))
    choose_patient(ann, "Reyes")
    ann.fill(identifier="A-17", acquired_on="2026-04-29", read_by="Dr Lindqvist")
    ann.fill(**{"discs-2-level": "L3/4", "discs-2-grade": "2", "discs-3-grade": "4", "discs-3-modic": "0"})
    ann.fill(**{"discs-3-spondylolisthesis_grade": "0", "discs-3-height_loss_pct": "10"})
    ann.picture("enter an mri study")
    ann.press("Enter an MRI study")
    ann.told()
    ann.open(referral_page)
    ann.press("Record the evaluation")
    ann.fill(
        pain_since="2024-05-01",
        back_pain_vas_mm="68",
        leg_pain_vas_mm="10",
        odi_pct="44",
        opioid_mme_per_day="0",
        bmi="26",
        translation_mm="1",
        angular_deg="5",
        t_score="0",
        target_levels="L4/5",
        treatments_reviewed=True,
        **NO,
    )
    ann.page.locator("[name=mri]").select_option(index=1)
    ann.fill(**{"treatments-0-kind": "physiotherapy", "treatments-0-started_on": "2025-01-10"})
    ann.picture("record the evaluation")
    ann.press("Record the evaluation")
    ann.told()
    ann.press("Let the criteria judge")
    ann.page.get_by_label("Bone marrow, same session").check()
    ann.press("Let the criteria judge")
    assert "eligible" in ann.told()
    ann.picture("verdict")
    doctor.log_in()
    doctor.picture("first page of a clinician")
    doctor.open(ann.page.url)
    doctor.take("Sign")
    doctor.take("Plan the treatment")
    episode_page = doctor.page.url

    # 3 booked
    ann.open(episode_page)
    ann.picture("treatment planned")
    ann.press("Find a time for the procedure")
    ann.fill(earliest="2026-05-12")
    ann.press("Look for times")
    ann.picture("times found")
    ann.page.get_by_role("button", name="Book Tue 12 May 2026, 08:00-11:30 (Chicago)").click()
    assert "Booked: Procedure day of Reyes, Marta, Tue 12 May 2026, 08:00 (Chicago)" in ann.told()
    day_page = ann.page.url
    events.open_due(at=at)
    ann.take("The patient confirmed")
    move_by_a_week(ann)
    day = Appointment.objects.get()
    steps = {step.code: step.during for step in day.steps.all()}

    # 4 prepared
    time_machine.move_to(day.during.lower)
    ann.come_back()
    ann.open(day_page)
    ann.picture("the day")
    ann.take("The patient has arrived")
    ann.take("Record the harvest", tissue="bone_marrow", kit="KIT-1", volume_ml="55")
    ann.take("Processed and ready", viability_pct="95")

    # 5 injected
    time_machine.move_to(steps[StepCode.INJECTION].upper)
    doctor.come_back()
    doctor.open(day_page)
    doctor.take(
        "Record the injection",
        started_at=local(steps[StepCode.INJECTION].lower),
        ended_at=local(steps[StepCode.INJECTION].lower + timedelta(minutes=40)),
        injected_by="Dr Amara Okafor",
        kit="KIT-1",
        first_person="Dr Amara Okafor",
        second_person="Ines Moreau",
        fluoroscopy_seconds="40",
        **{"levels-0-volume_ml": "1"},
    )

    # 6 recovers
    ann.open(day_page)
    ann.take("Score the recovery", vital_signs="2", activity="2", comfort="2", bleeding="2", intake="2")
    ann.take("The patient goes home", escorted_by="Her brother")
    ann.picture("treatment after the injection")

    # 7 followed up: two answers by phone and one MRI by hand; what comes in between goes the same way
    episode = Episode.objects.get()
    events.miss_overdue(at=day.during.upper + timedelta(days=1))  # nobody asked for the baseline before the injection
    for event in FollowUpEvent.objects.with_dates().filter(episode=episode, status=EventStatus.OPEN).order_by("due_on"):
        time_machine.move_to(noon(event.due_on))
        if event.code not in BY_HAND:
            walk.follow_up(event, vas=30, at=noon(event.due_on), mode="phone")
            continue
        ann.come_back()
        ann.open(reverse("admin:followup_followupevent_change", args=[event.pk]))
        if event.kind == EventKind.MRI:
            have_the_mri(ann, event, time_machine)
        else:
            answer_by_phone(ann)

    # 8 outcome
    ann.come_back()
    ann.open(episode_page)
    ann.picture("treatment before its end")
    ann.take("Complete")
    episode.refresh_from_db()
    doctor.come_back()
    doctor.open(episode_page)
    doctor.picture("outcome")
    ann.open(patient_page)
    ann.picture("patient")

    assert episode.status == EpisodeStatus.COMPLETED
    assert [change.point.name for change in outcomes.changes(episode) if change.point.answered_at] == [
        "4 weeks",
        "3 months",
        "6 months",
        "12 months",
        "24 months",
    ]
    assert Response.objects.exclude(mode="phone").count() == 0
    assert ann.complaints + doctor.complaints == []


def choose_patient(person, name):
    """The list that searches as one types."""
    person.page.locator(".select2-selection").first.click()
    person.page.locator(".select2-search__field").fill(name)
    person.page.locator(".select2-results__option", has_text="Reyes, Marta").first.click()


def move_by_a_week(person):
    person.press("Move to another time")
    person.fill(earliest="2026-05-19")
    person.press("Look for times")
    person.page.get_by_role("link", name="Choose Tue 19 May 2026, 08:00-11:30 (Chicago)").click()
    person.page.get_by_text("14 follow-up dates move.").wait_for()
    person.picture("move, with its follow-up dates")
    person.fill(reason="The patient asked.")
    person.press("Move")
    assert "Tue 19 May 2026, 08:00 (Chicago)" in person.told()


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=CHICAGO)


def answer_by_phone(person):
    person.press("Record answers")
    for group in person.page.locator("[role=group]").all():
        group.locator("label").first.click()
    for number in person.page.locator("input[inputmode=numeric]").all():
        number.fill("3")
    person.press("Record answers")
    person.told()


def have_the_mri(person, event, time_machine):
    event_page = person.page.url
    person.press("Find a time for the MRI")
    person.page.get_by_role("button", name="Book").first.click()
    person.told()
    scan = Appointment.objects.filter(episode=event.episode).latest("during")
    day_page = person.page.url
    time_machine.move_to(scan.during.lower)
    person.come_back()
    person.open(day_page)
    person.take("The patient has arrived")
    person.take("Done: the visit took place")
    person.open(event_page)
    made_on = scan.during.lower.astimezone(CHICAGO).date().isoformat()
    person.take("Record the MRI", acquired_on=made_on, **{"discs-3-grade": "3", "discs-3-modic": "0"})
