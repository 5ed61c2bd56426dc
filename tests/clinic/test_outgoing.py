"""The page of what goes out: everything that was sent, with its outcome, and all that falls due in the next days."""

import re
from datetime import date, timedelta
from urllib.parse import parse_qs

import pytest
from django.urls import reverse

from clinic import optouts, outgoing
from clinic.models import Channel, Message, Patient
from clinic.outgoing import TO_COME, WILL_NOT_GO, Timeline
from clinic.states import MessageStatus as S
from followup.demo import walk
from tests.desk import Desk, address

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock_stopped")]

PAGE = "admin:clinic_going-out"
DAY = timedelta(days=1)
REMINDER, INVITATION = "appointment.reminder", "survey.invitation"


@pytest.fixture
def planned(settings, monkeypatch):
    """What the planners expect, as the test says."""
    expected = []

    def forecast(*, at, until, sites=None, patient=None, overdue=False):
        for message in expected:
            if at < message.due_at <= until and (sites is None or message.site in sites):
                if patient is None or message.patient == patient:
                    yield message

    settings.MESSAGE_PLANNERS = ("tests.clinic.test_outgoing.forecast",)
    monkeypatch.setattr("tests.clinic.test_outgoing.forecast", forecast, raising=False)
    return expected


@pytest.fixture
def message(patient):
    numbers = iter(range(1000))

    def written(status=S.SENT, *, of=patient, due_at, **given):
        details = {"kind": REMINDER, "sent_at": due_at if status == S.SENT else None} | given
        return Message(site=of.site, patient=of, about=str(next(numbers)), status=status, due_at=due_at, **details)

    return written


@pytest.fixture
def told(message):
    def stored(*args, **given):
        made = message(*args, **given)
        made.save(force_insert=True)
        return made

    return stored


@pytest.fixture
def look(coordinator):
    desk = Desk(coordinator)
    return lambda **query: desk.client.get(reverse(PAGE), query)


def lines(response):
    """Each line as a reader sees it."""
    return [
        (
            str(row["message"].patient),
            row["what"],
            row["when"],
            row["message"].get_channel_display(),
            plain(row["state"]),
            row["why"],
        )
        for row in response.context["rows"]
    ]


def plain(cell):
    """Without its marks: the sign of a state is for the eye."""
    return re.sub(r"<span aria-hidden.*?</span> |<[^>]*>", "", str(cell))


def messages(response):
    return [row["message"] for row in response.context["rows"]]


def test_what_was_sent_today_comes_first_and_then_what_is_to_come(look, told, message, planned, at):
    told(due_at=at - timedelta(minutes=5))
    planned += [message(S.DUE, due_at=at + 3 * DAY, kind=INVITATION), message(S.DUE, due_at=at + DAY)]

    assert lines(look()) == [
        ("Reyes, Marta", "Reminder of an appointment", "Mon 4 May 2026, 08:55 (Chicago)", "E-mail", "Sent", ""),
        ("Reyes, Marta", "Reminder of an appointment", "Tue 5 May 2026, 09:00 (Chicago)", "E-mail", "To come", ""),
        ("Reyes, Marta", "Survey: invitation", "Thu 7 May 2026, 09:00 (Chicago)", "E-mail", "To come", ""),
    ]


def test_the_next_fourteen_days_are_shown_and_no_more(look, message, planned, at):
    last = message(S.DUE, due_at=at + 14 * DAY)
    planned += [last, message(S.DUE, due_at=at + 15 * DAY)]

    response = look()

    assert messages(response) == [last]
    assert response.context["days"] == "Mon\u00a04\u00a0May\u00a02026\u00a0- Mon\u00a018\u00a0May\u00a02026"
    assert "Times are those of America/Chicago." in response.text


def test_a_day_is_the_clinics_day(look, told, at):
    night = at.replace(hour=4, minute=30)  # still Sunday in Chicago
    told(due_at=night)
    of_monday = told(due_at=night + timedelta(hours=1))

    assert messages(look()) == [of_monday]


def test_what_was_sent_late_stands_on_the_day_it_was_sent(look, told, at):
    late = told(due_at=at - 3 * DAY, sent_at=at - timedelta(hours=1))

    assert messages(look()) == [late]


def test_why_something_was_not_sent_is_told(look, told, at):
    told(S.SKIPPED, due_at=at, reason="The appointment was cancelled.")
    told(S.FAILED, due_at=at, reason="The mail relay answered: 550 no such user")

    assert sorted(line[4:] for line in lines(look())) == [
        ("Failed", "The mail relay answered: 550 no such user"),
        ("Skipped", "The appointment was cancelled."),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"email": ""}, "There is no e-mail address for the patient."),
        ({"deceased": True}, "The patient has died."),
    ],
)
def test_what_is_due_or_to_come_and_cannot_be_sent_says_why(look, told, message, planned, patient, at, change, reason):
    Patient.objects.filter(pk=patient.pk).update(**change)
    told(S.DUE, due_at=at)
    planned.append(message(S.DUE, due_at=at + DAY))

    response = look(state=WILL_NOT_GO)

    assert [line[4:] for line in lines(response)] == [("Will not go", reason)] * 2
    assert response.context["page"].paginator.count == 2


def test_what_the_patient_asked_not_to_get_will_not_go_and_the_rest_will(look, message, planned, patient, at):
    optouts.stop(patient, category="surveys", by="ann", at=at)
    planned += [message(S.DUE, due_at=at + DAY), message(S.DUE, due_at=at + 2 * DAY, kind=INVITATION)]

    assert [line[1::3] for line in lines(look())] == [
        ("Reminder of an appointment", "To come"),
        ("Survey: invitation", "Will not go"),
    ]
    assert [line[5] for line in lines(look(state=WILL_NOT_GO))] == [
        "The patient asked not to get e-mail with questions."
    ]


def test_a_patient_without_an_address_is_one_click_away(look, message, planned, patient, at):
    Patient.objects.filter(pk=patient.pk).update(email="")
    planned.append(message(S.DUE, due_at=at + DAY))

    (row,) = look().context["rows"]

    assert row["following"] == (address(patient, "change", patient.pk), "See patient")


def test_a_text_message_needs_a_phone_number_and_no_e_mail_address(message, patient, at):
    by_sms = message(S.DUE, due_at=at, channel=Channel.SMS)
    patient.email = ""
    assert outgoing.why_not(by_sms) == ""

    patient.phone = ""
    assert outgoing.why_not(by_sms) == "There is no phone number with its country for the patient."


def test_days_kind_channel_and_state_narrow_what_is_shown(look, told, message, planned, at):
    yesterday = told(due_at=at - DAY)
    sms = told(due_at=at, channel=Channel.SMS)
    skipped = told(S.SKIPPED, due_at=at + timedelta(seconds=1))
    survey = told(due_at=at + timedelta(seconds=2), kind=INVITATION)
    soon, later = message(S.DUE, due_at=at + DAY), message(S.DUE, due_at=at + 2 * DAY, kind=INVITATION)
    planned += [soon, later]

    assert messages(look(first="2026-05-03", last="2026-05-03")) == [yesterday]
    assert messages(look(first="2026-05-05", last="2026-05-05")) == [soon]
    assert messages(look(first="2026-05-05", last="2026-05-06")) == [soon, later]
    assert messages(look(channel=Channel.SMS)) == [sms]
    assert messages(look(kind=INVITATION)) == [survey, later]
    assert messages(look(state=S.SKIPPED)) == [skipped]
    assert messages(look(state=TO_COME)) == [soon, later]
    assert messages(look(state=TO_COME, kind=INVITATION)) == [later]


def test_the_numbers_stay_when_one_state_is_chosen_and_each_leads_to_its_lines(look, told, message, planned, at):
    for status in (S.SENT, S.SENT, S.UNKNOWN):
        told(status, due_at=at)
    planned.append(message(S.DUE, due_at=at + DAY))

    for state in ("", S.UNKNOWN):
        tally = look(state=state).context["tally"]
        assert [(plain(one["state"]), one["count"]) for one in tally] == [
            ("To come", 1),
            ("Will not go", 0),
            ("Sent", 2),
            ("Unknown", 1),
        ]
        for one in tally:
            query = {name: values[0] for name, values in parse_qs(one["url"].removeprefix("?")).items()}
            assert look(**query).context["page"].paginator.count == one["count"]


def test_what_waits_since_earlier_days_is_not_overlooked(look, told, at):
    waiting = [told(S.DUE, due_at=at - days * DAY) for days in (3, 2)]
    told(due_at=at - 2 * DAY)

    response = look()

    assert messages(response) == []
    assert "2 of earlier days are still waiting to go out." in response.text
    query = {name: values[0] for name, values in parse_qs(response.context["waiting_url"].removeprefix("?")).items()}
    assert messages(look(**query)) == waiting


def test_another_clinics_messages_are_not_shown(look, told, message, planned, other_site, at):
    theirs = walk.register(other_site, at=at, mrn="MRN-2")
    told(of=theirs, due_at=at)
    planned.append(message(S.DUE, of=theirs, due_at=at + DAY))

    assert messages(look()) == []
    assert look(site=other_site.pk).context["form"].errors.keys() == {"site"}
    assert look(patient=theirs.pk).status_code == 404


def test_who_works_at_two_clinics_looks_at_one_at_a_time_in_its_own_time(look, told, coordinator, other_site, at):
    coordinator.staff_member.sites.add(other_site)
    theirs = walk.register(other_site, at=at, mrn="MRN-2")
    told(due_at=at)
    told(of=theirs, due_at=at)

    (line,) = lines(look(site=other_site.pk))

    assert line[2] == "Mon 4 May 2026, 16:00 (Berlin)"
    assert [str(site) for site in look().context["form"].fields["site"].queryset] == [
        "Harbour Clinic",
        "Lakeside Spine Clinic",
    ]


def test_one_patients_messages_alone(look, told, message, planned, patient, site, at):
    other = walk.register(site, at=at, mrn="MRN-2")
    said, coming = told(due_at=at), message(S.DUE, due_at=at + DAY)
    told(of=other, due_at=at)
    planned += [coming, message(S.DUE, of=other, due_at=at + DAY)]

    assert messages(look(patient=patient.pk)) == [said, coming]


def test_a_patients_page_says_what_the_patient_will_hear(coordinator, message, told, planned, patient, at):
    told(due_at=at)
    planned.append(message(S.DUE, due_at=at + DAY, kind=INVITATION))

    panels = dict(Desk(coordinator).page(patient).context["panels"])

    panel = panels["What this patient will hear in the next 14 days"]
    assert "Survey: invitation" in panel
    assert "Tue 5 May 2026, 09:00 (Chicago)" in panel
    assert "Reminder of an appointment" not in panel  # that was sent
    assert f'href="{reverse(PAGE)}?patient={patient.pk}"' in panel


def test_where_nothing_goes_out_the_page_says_what_to_do(look, told, at):
    assert "book an appointment, or choose other days." in look().text

    told(due_at=at)
    assert "Nothing on these days matches." in look(state=S.FAILED).text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"first": "2026-05-10", "last": "2026-05-09"}, "This is before the first day."),
        ({"first": "2026-01-01", "last": "2026-05-09"}, "Choose at most 92 days at a time."),
        ({"first": "0001-01-01", "last": "0001-01-02"}, "Choose days within 10 years of today."),
        ({"first": "9999-12-30", "last": "9999-12-31"}, "Choose days within 10 years of today."),
        ({"first": "soon"}, "Enter a valid date."),
        ({"first": ""}, "This field is required."),
        ({"site": "x"}, "Select a valid choice. That choice is not one of the available choices."),
        ({"kind": "x"}, "Select a valid choice. x is not one of the available choices."),
    ],
)
def test_what_makes_no_sense_is_said_beside_the_field(look, query, words):
    response = look(**query)

    assert response.status_code == 200
    assert [error for errors in response.context["form"].errors.values() for error in errors] == [words]


@pytest.mark.parametrize("patient", ["x", "\0", "00000000-0000-4000-8000-000000000000"])
def test_a_patient_who_is_not_there_is_not_found(look, patient):
    assert look(patient=patient).status_code == 404


def test_a_login_without_the_right_or_without_a_clinic_sees_nothing(client, look, coordinator, django_user_model):
    client.force_login(django_user_model.objects.create_user("temp", password="a long test password", is_staff=True))
    assert client.get(reverse(PAGE)).status_code == 403

    coordinator.staff_member.sites.clear()
    assert "Your login has no clinic yet." in look().text


def test_a_long_list_comes_in_pages_and_on_paper_at_once(look, told, message, planned, at):
    written = [told(due_at=at - timedelta(minutes=70 - number)) for number in range(70)]
    planned += [message(S.DUE, due_at=at + timedelta(minutes=number + 1)) for number in range(60)]

    first, second, third, beyond = (look(page=number) for number in (1, 2, 3, 99))

    assert messages(first) == written[:50]
    assert messages(second) == [*written[50:], *planned[:30]]
    assert messages(third) == messages(beyond) == planned[30:]
    assert "51-100 of 130" in second.text
    assert messages(look(whole="1")) == [*written, *planned]


def test_many_lines_cost_as_many_questions_as_few(planned, told, coordinator, site, at, django_assert_num_queries):
    desk = Desk(coordinator)
    desk.client.get(reverse(PAGE))  # whatever is asked once and remembered is asked here
    for wanted in (1, 40):
        for number in range(wanted):
            told(of=walk.register(site, at=at, mrn=f"MRN-{wanted}-{number}"), due_at=at)

        with django_assert_num_queries(12):
            desk.own.get(reverse(PAGE))


def test_looking_leaves_nothing_behind(look, message, planned, at):
    planned.append(message(S.DUE, due_at=at + DAY))

    look()

    assert not Message.objects.exists()


def test_the_days_of_a_timeline_touch_where_the_clocks_change(message, told, planned, site, at):
    """On Sunday 8 March 2026 the day has 23 hours in Chicago."""
    last_minute = told(due_at=at.replace(month=3, day=9, hour=4, minute=59))
    next_day = told(due_at=at.replace(month=3, day=9, hour=5, minute=0))

    def on(day):
        return Timeline(outgoing.Asked(site=site, first=day, last=day), at=at)[0:9]

    assert (on(date(2026, 3, 8)), on(date(2026, 3, 9))) == ([last_minute], [next_day])
