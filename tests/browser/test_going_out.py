"""The page of what goes out and the red banner, looked at in a browser: nothing of them breaks the security policy,
runs out of the screen or is hard to read, in the light and in the dark, and on paper."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail
from django.urls import reverse

from clinic import desk, heartbeats, messages
from clinic.models import Message, Patient
from clinic.states import MessageStatus as S
from followup.demo import walk
from scheduling import reminders
from tests.browser.test_desk import Person, chromium, pytestmark

__all__ = ["chromium", "pytestmark"]

DAY = timedelta(days=1)
NAMES = (("Reyes", "Marta"), ("Okonkwo-Lindqvist", "Bartholomew"), ("Novak", "Jana"))
WIDTHS = (1280, 768)


@pytest.fixture
def clinic(site, at):
    """Three patients who were told of their day, and of whom one has lost their address since."""
    for number, (family, given) in enumerate(NAMES):
        patient = walk.register(site, at=at, mrn=f"MRN-{number}", family_name=family, given_name=given)
        walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=8 + number)
    reminders.queue_due(at=at)
    messages.deliver(at=at)
    Message.objects.filter(patient__family_name="Novak").update(status=S.UNKNOWN, reason=messages.NOBODY_KNOWS)
    Patient.objects.filter(family_name="Okonkwo-Lindqvist").update(email="")
    mail.outbox.clear()


@pytest.fixture
def ann(chromium, live_server, coordinator, clinic, at, time_machine, monkeypatch):
    time_machine.move_to(at)
    monkeypatch.setattr(desk, "WATCH", desk._Watch())
    person = Person(chromium, live_server, "coordinator")
    person.come_back()
    return person


def look(person, name, *, part="#content"):
    """One part of a page at every width, in light and dark: what axe finds, and what runs out of the screen."""
    found = {}
    for width in WIDTHS:
        person.page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            person.page.emulate_media(color_scheme=scheme)
            person.picture(f"{name} {width} {scheme}")
            if wide := person.page.evaluate("document.documentElement.scrollWidth - innerWidth"):
                found[f"{name}, {width}, {scheme}: wider than the screen"] = wide
            for violation in Axe().run(person.page, context=part, options={"preload": False}).response["violations"]:
                found[f"{name}, {width}, {scheme}: {violation['id']}"] = [one["html"] for one in violation["nodes"]]
    return found


def test_what_goes_out_is_easy_to_read_and_leads_on(ann, live_server):
    heartbeats.beat(heartbeats.DISPATCHER, at=heartbeats.listen().at)
    ann.open(reverse("admin:clinic_going-out"))

    found = look(ann, "going out")
    ann.page.get_by_role("link", name="Will not go").click()
    ann.page.wait_for_load_state()
    found |= look(ann, "will not go")
    lines = ann.page.locator("#content tbody tr").all_inner_texts()
    ann.press("Show everything")
    ann.page.locator("#content tbody th a").first.click()
    ann.page.wait_for_load_state()
    ann.press("Everything that goes out to this patient")
    ann.fill(first="2026-06-20", last="2026-06-21")
    ann.press("Show")
    found |= look(ann, "nothing")

    assert (found, ann.complaints) == ({}, [])
    assert lines
    assert all("There is no e-mail address for the patient." in line for line in lines)


def test_on_paper_it_is_the_list_alone(ann, live_server):
    heartbeats.beat(heartbeats.DISPATCHER, at=heartbeats.listen().at)
    ann.open(reverse("admin:clinic_going-out"))
    ann.page.emulate_media(media="print")
    ann.picture("paper")

    seen = ann.page.locator("#content").inner_text()

    assert "Printed Mon 4 May 2026, 09:00 (Chicago)" in seen
    assert ann.page.locator("form.search, #header, #nav-sidebar, a.next").locator("visible=true").count() == 0


def test_the_red_banner_is_easy_to_read_on_every_page(ann, live_server, settings):
    settings.OPERATOR = "the IT desk, extension 4711"
    heartbeats.beat(heartbeats.DISPATCHER, at=heartbeats.listen().at - timedelta(minutes=25))
    found = {}
    for name in ("index", "clinic_patient_changelist", "clinic_going-out"):
        ann.open(reverse(f"admin:{name}"))
        assert ann.page.get_by_role("alert").first.is_visible()
        found |= look(ann, f"silence {name}", part=".silence")

    assert (found, ann.complaints) == ({}, [])
