"""The page of what is sent when: coordinators look, administrators change, and what would send many messages shows how
many before it sends any."""

from datetime import time, timedelta

import pytest
import time_machine

from clinic import languages, messages
from clinic.models import MessageRule, StatusChange
from followup.demo import walk
from scheduling import reminders
from tests.desk import Desk, offered, refusals, said


@pytest.fixture
def root(django_user_model):
    return Desk(django_user_model.objects.create_superuser("root", password="a long test password"))


@pytest.fixture
def crowded(site, at):
    """Twenty-two patients who have been told of a procedure two weeks ahead; the desk opens five days later."""
    for number in range(22):
        patient = walk.register(site, at=at, mrn=f"MRN-{number + 100}")
        walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)
    later = at + timedelta(days=5)
    for moment in (at, later):
        reminders.queue_due(at=moment)
        messages.deliver(at=moment, limit=200)
    with time_machine.travel(later, tick=False):
        yield later


def rule_of(site, occasion):
    return MessageRule.objects.get(site=site, occasion=occasion)


CHANGED = {"hour": "09:00", "channel": "email"}


def test_a_coordinator_sees_what_is_sent_when_and_changes_nothing(site, coordinator, clock_stopped):
    desk, rule = Desk(coordinator), rule_of(site, "7d")

    listed, page = desk.list(MessageRule), desk.page(rule)

    assert [row.occasion for row in listed.context["cl"].result_list][:4] == ["booked", "moved", "cancelled", "prepare"]
    assert "7 days before the day, at 09:00" in listed.content.decode()
    assert offered(page) == []
    assert desk.take(rule, "change", amount="5", **CHANGED).status_code == 403
    assert desk.add(MessageRule, site=site.pk, amount="2").status_code == 403


def test_nobody_sees_the_rules_of_another_clinic(site, stranger, clock_stopped):
    assert {row.site for row in Desk(stranger).list(MessageRule).context["cl"].result_list} == {
        stranger.staff_member.sites.get()
    }


def test_the_page_of_a_rule_shows_whom_it_will_write_to(site, patient, coordinator, at, clock_stopped):
    walk.book(walk.open_episode(patient, at=at), at=at, days_ahead=14)

    page = Desk(coordinator).page(rule_of(site, "7d")).content.decode()

    assert "Reyes, Marta" in page
    assert "Mon 11 May 2026, 09:00 (Chicago)" in page


def test_an_administrator_changes_a_rule_and_the_trail_says_so(root, site, clock_stopped):
    rule = rule_of(site, "7d")

    response = root.take(rule, "change", amount="6", hour="10:30", channel="email")

    assert said(response) == "Reminder of an appointment now goes out 6 days before the day, at 10:30."
    change = StatusChange.objects.get(subject="clinic.MessageRule")
    assert (change.by, change.subject_id) == ("root", str(rule.pk))


def test_what_would_send_many_messages_shows_how_many_and_waits_for_a_yes(root, site, crowded):
    rule = rule_of(site, "7d")

    asked = root.take(rule, "change", amount="13", **CHANGED)
    text = asked.content.decode()
    rule.refresh_from_db()
    amount = rule.amount
    answered = root.take(rule, "change", amount="13", agreed="22", **CHANGED)

    (question,) = asked.context["form"].errors["agreed"]
    assert question.startswith("22 messages would go out at once; in the 14 days from now 0 more and 0 fewer.")
    assert "The first: Reyes, Marta, Tue 5 May 2026, 09:00 (Chicago);" in question
    assert "Yes, send these 22" in text
    assert amount == 7
    assert said(answered) == "Reminder of an appointment now goes out 13 days before the day, at 09:00."


def test_a_no_changes_nothing(root, site, crowded):
    asked = root.take(rule_of(site, "7d"), "change", amount="13", agreed="", **CHANGED)

    assert asked.status_code == 200
    assert rule_of(site, "7d").amount == 7


def test_what_a_step_refuses_is_said_on_the_form(root, site, clock_stopped):
    response = root.take(rule_of(site, "7d"), "change", amount="5", hour="22:00", channel="email")

    assert refusals(response) == [
        "22:00 lies in the quiet hours of Lakeside Spine Clinic: patients are left in peace from 21:00 to 08:00. "
        "Choose an hour outside of them."
    ]


def test_a_rule_is_switched_off_and_on_at_the_desk(root, site, clock_stopped):
    rule = rule_of(site, "7d")

    off = said(root.take(rule, "switch-off"))
    labels = offered(root.page(rule))
    on = said(root.take(rule, "switch-on"))

    assert (off, on) == (
        "Reminder of an appointment is not sent any more.",
        "Reminder of an appointment goes out 7 days before the day, at 09:00.",
    )
    assert labels == ["Change", "Send this from now on"]


def test_a_reminder_is_added_at_the_desk(root, site, clock_stopped):
    response = root.add(
        MessageRule, site=site.pk, kind="appointment.reminder", amount="2", hour="09:00", channel="email"
    )

    assert said(response) == "Reminder of an appointment goes out 2 days before the day, at 09:00."
    assert rule_of(site, "2d").since is not None


def test_the_clinics_own_words_about_how_to_prepare_are_kept(root, site, clock_stopped):
    rule = rule_of(site, "prepare")

    wrong = root.take(rule, "change", amount="10", text="Bring slippers.", texts='{"it": "Ciabatte."}', **CHANGED)
    root.take(rule, "change", amount="10", text="Bring slippers.", texts='{"de": "Hausschuhe."}', **CHANGED)

    rule.refresh_from_db()
    assert (rule.text, rule.texts) == ("Bring slippers.", {"de": "Hausschuhe."})
    assert wrong.context["form"].errors["texts"] == ["it: use the language codes en, es, pt, fr, de, tr, ar."]
    assert StatusChange.objects.filter(subject="clinic.MessageRule").count() == 1
    with languages.speaking("de"):
        assert str(rule.words("en")) == "Hausschuhe."
    with languages.speaking("tr"):
        assert (str(rule.words("en")), rule.words("en").language) == ("Bring slippers.", "en")


def test_an_administrator_changes_the_quiet_hours_and_a_coordinator_does_not(site, root, coordinator, clock_stopped):
    hours = {"quiet_from": "22:00", "quiet_until": "07:00"}

    assert Desk(coordinator).take(site, "quiet-hours", **hours).status_code == 403
    assert said(root.take(site, "quiet-hours", **hours)) == (
        f"{site}: messages that may wait are kept for the end of the new quiet hours."
    )
    site.refresh_from_db()
    assert (site.quiet_from, site.quiet_until) == (time(22), time(7))


def test_the_desk_says_why_quiet_hours_cannot_be_changed(site, root, clock_stopped):
    refused = root.take(site, "quiet-hours", quiet_from="21:00", quiet_until="10:00")

    assert refusals(refused) == [
        "A message goes out 10 days before the day, at 09:00, which would lie in the quiet hours. "
        "Change that message first."
    ]
