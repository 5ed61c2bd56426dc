"""What a patient answers is kept once, scored exactly, and worries somebody when it should."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from clinic.status import StepRefused
from followup import events, surveys
from followup.models import Alert, FollowUpEvent, Response
from followup.models.alert import AlertKind
from followup.states import AlertStatus, EventStatus, ResponseStatus
from scheduling.models import Episode
from scheduling.states import EpisodeStatus

DAY = timedelta(days=1)
TWOS = {str(section): 2 for section in range(1, 11)}


def due(episode, code):
    events.open_due(at=episode.anchor_at)
    return surveys.dated(FollowUpEvent.objects.get(episode=episode, code=code).pk)


def noon(day):
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("America/Chicago"))


def answer(event, at, **by_code):
    for code, items in by_code.items():
        for link_id, value in items.items():
            surveys.save_answer(event, instrument=code.replace("_", "-"), link_id=link_id, value=value, at=at)


def completed(event, at, **by_code):
    answer(event, at, **by_code)
    return surveys.complete(event, at=at)


def response_to(event, code):
    return Response.objects.get(event=event, instrument_code=code)


def test_a_survey_asks_the_pain_line_and_ten_sections(injected):
    event = due(injected, "month-6")

    pages = surveys.open_for(event, at=noon(event.due_on))

    assert [page.instrument.code for page in pages] == ["pain-vas"] + ["odi"] * 10
    assert [page.number for page in pages] == list(range(1, 12))
    assert {page.of for page in pages} == {11}
    assert pages[0].instead.instrument.code == "pain-nrs"
    assert not any(page.answered for page in pages)


def test_answers_are_scored_and_the_time_point_is_done(injected):
    event = due(injected, "month-6")

    done = completed(event, noon(event.due_on), pain_vas={"pain": 23}, odi=TWOS | {"10": 1})

    assert done.status == EventStatus.DONE
    assert response_to(event, "pain-vas").score == 23
    odi = response_to(event, "odi")
    assert (odi.raw, odi.answered, odi.score, odi.score_status) == (19, 10, Decimal(38), "complete")


def test_nine_sections_are_prorated_exactly(injected):
    event = due(injected, "month-6")
    items = dict.fromkeys(TWOS, 2) | {"8": None, "9": 0, "10": 2}

    completed(event, noon(event.due_on), pain_vas={"pain": None}, odi=items)

    odi = response_to(event, "odi")
    assert (odi.raw, odi.answered, odi.score, odi.score_status) == (16, 9, Decimal("35.555556"), "prorated")


def test_eight_sections_have_no_score(injected):
    event = due(injected, "month-6")

    completed(event, noon(event.due_on), pain_vas={"pain": 10}, odi=TWOS | {"7": None, "8": None})

    odi = response_to(event, "odi")
    assert (odi.raw, odi.answered, odi.score, odi.score_status) == (16, 8, None, "insufficient")


def test_a_skipped_line_has_no_score_and_is_never_nought(injected):
    event = due(injected, "month-6")

    completed(event, noon(event.due_on), pain_vas={"pain": None}, odi=TWOS)

    vas = response_to(event, "pain-vas")
    assert (vas.answers, vas.raw, vas.score, vas.score_status) == ({"pain": None}, None, None, "insufficient")


def test_a_number_is_kept_as_a_number_and_the_line_counts_as_skipped(injected):
    event = due(injected, "month-6")

    completed(event, noon(event.due_on), pain_nrs={"pain": 7}, pain_vas={}, odi=TWOS)

    assert response_to(event, "pain-nrs").score == 7
    assert response_to(event, "pain-vas").answers == {"pain": None}
    assert response_to(event, "pain-vas").score is None


def test_who_goes_back_to_the_line_takes_the_number_away(injected):
    event = due(injected, "month-6")

    answer(event, noon(event.due_on), pain_nrs={"pain": 7})
    answer(event, noon(event.due_on), pain_vas={"pain": 64})

    assert response_to(event, "pain-nrs").answers == {"pain": None}
    assert response_to(event, "pain-vas").answers == {"pain": 64}


@pytest.mark.parametrize(
    ("code", "link_id", "value"),
    [
        ("pain-vas", "pain", 101),
        ("pain-vas", "pain", -1),
        ("pain-vas", "pain", "50"),
        ("pain-vas", "pain", 50.5),
        ("pain-vas", "pain", True),
        ("pain-nrs", "pain", 11),
        ("odi", "4", 6),
        ("odi", "4", [1, 2]),
        ("odi", "11", 1),
        ("odi", "pain", 1),
        ("red-flags", "fever", True),
        ("nothing", "pain", 1),
    ],
)
def test_what_is_no_answer_is_refused_and_nothing_is_kept(injected, code, link_id, value):
    event = due(injected, "month-6")

    with pytest.raises(surveys.BadAnswer):
        surveys.save_answer(event, instrument=code, link_id=link_id, value=value, at=noon(event.due_on))

    assert Response.objects.count() == 0


@pytest.mark.parametrize("value", [1, 0, "yes", "true"])
def test_a_symptom_is_yes_or_no(injected, value):
    event = due(injected, "day-3")

    with pytest.raises(surveys.BadAnswer):
        surveys.save_answer(event, instrument="red-flags", link_id="fever", value=value, at=noon(event.due_on))


def test_a_survey_with_open_questions_cannot_be_finished(injected):
    event = due(injected, "month-6")
    answer(event, noon(event.due_on), pain_vas={"pain": 23}, odi={"1": 2})

    with pytest.raises(surveys.BadAnswer, match="9 questions are neither"):
        surveys.complete(event, at=noon(event.due_on))


def test_another_device_shows_the_answers_given_so_far(injected):
    event = due(injected, "month-6")
    answer(event, noon(event.due_on), pain_vas={"pain": 23}, odi={"1": 2, "2": None})

    pages = surveys.open_for(event, at=noon(event.due_on + DAY))

    assert [(page.value, page.answered) for page in pages[:4]] == [(23, True), (2, True), (None, True), (None, False)]


def test_a_second_submission_changes_nothing(injected):
    event = due(injected, "month-6")
    at = noon(event.due_on)
    completed(event, at, pain_vas={"pain": 23}, odi=TWOS)
    kept = list(Response.objects.order_by("pk").values())

    surveys.save_answer(event, instrument="pain-vas", link_id="pain", value=99, at=at + DAY)
    again = surveys.complete(event, at=at + DAY)

    assert again.status == EventStatus.DONE
    assert list(Response.objects.order_by("pk").values()) == kept


@pytest.mark.parametrize(
    ("begun", "last_answer", "asked", "expected"),
    [
        # window = the last local day that counts ends at `end`; hours from there
        (False, None, -1, "open"),
        (False, None, 0, "over"),
        (False, None, 24, "over"),
        (True, -48, -1, "open"),
        (True, -48, 0, "over"),
        (True, -2, 0, "open"),
        (True, -2, 21, "open"),
        (True, -2, 22, "over"),
        (True, 20, 43, "open"),
        (True, 20, 44, "over"),
        (True, 7 * 24 - 1, 7 * 24, "open"),
        (True, 7 * 24 - 1, 8 * 24 - 1.5, "open"),
        (True, 7 * 24 - 1, 8 * 24 - 1, "over"),
    ],
)
def test_a_survey_does_not_close_under_the_patients_thumb(injected, begun, last_answer, asked, expected):
    event = due(injected, "month-6")
    end = events.window_end(event)
    if begun:
        answer(event, noon(event.due_on), pain_vas={"pain": 1})
        Response.objects.update(last_answer_at=end + timedelta(hours=last_answer))

    at = end + timedelta(hours=asked)

    assert surveys.standing(event, at=at) == expected
    events.miss_overdue(at=at)
    assert surveys.standing(surveys.dated(event.pk), at=at) == expected


@pytest.mark.parametrize(
    ("begun", "last_answer", "asked", "expected"),
    [
        # hours from the end of the injection, with which a first measurement ends
        (False, None, -1, "open"),
        (False, None, 0, "over"),
        (True, -30, -1, "open"),
        (True, -30, 0, "over"),
        (True, -2, 0, "open"),
        (True, -2, 21, "open"),
        (True, -2, 22, "over"),
    ],
)
def test_a_first_measurement_in_progress_is_not_cut_off_by_the_injection(
    booked, inject, begun, last_answer, asked, expected
):
    booked.refresh_from_db()
    event = due(booked, "baseline")
    if begun:
        answer(event, booked.anchor_at - DAY, pain_vas={"pain": 40})
    given_at = inject(booked).anchor_at
    if begun:
        Response.objects.update(last_answer_at=given_at + timedelta(hours=last_answer))

    at = given_at + timedelta(hours=asked)

    assert surveys.standing(surveys.dated(event.pk), at=at) == expected
    if asked >= 0:
        events.miss_overdue(at=at)
        assert surveys.standing(surveys.dated(event.pk), at=at) == expected


@pytest.mark.parametrize(
    ("last_day", "end"),
    [
        (date(2026, 10, 31), datetime(2026, 11, 1, 5, tzinfo=UTC)),  # the clock goes back in the night after it
        (date(2026, 11, 1), datetime(2026, 11, 2, 6, tzinfo=UTC)),  # a day of 25 hours
        (date(2027, 3, 13), datetime(2027, 3, 14, 6, tzinfo=UTC)),
        (date(2027, 3, 14), datetime(2027, 3, 15, 5, tzinfo=UTC)),  # a day of 23 hours
    ],
)
def test_a_window_ends_with_the_clinics_day_and_24_hours_are_24_hours(injected, last_day, end):
    event, second = due(injected, "week-4"), timedelta(seconds=1)
    Episode.objects.filter(pk=injected.pk).update(anchor_at=injected.anchor_at + (last_day - event.closes_on))
    event = surveys.dated(event.pk)

    assert [surveys.standing(event, at=end - second), surveys.standing(event, at=end)] == ["open", "over"]

    answer(event, end - second, pain_vas={"pain": 1})

    assert surveys.standing(event, at=end - 2 * second + DAY) == "open"
    assert surveys.standing(event, at=end - second + DAY) == "over"


def test_nothing_is_asked_before_the_window_opens(injected):
    event = due(injected, "month-6")

    with pytest.raises(surveys.SurveyClosed):
        surveys.open_for(event, at=noon(event.opens_on - DAY))

    assert surveys.standing(event, at=noon(event.opens_on)) == "open"


def test_before_the_injection_only_the_first_measurement_is_asked(booked, at):
    booked.refresh_from_db()

    assert surveys.standing(due(booked, "baseline"), at=at) == "open"
    assert surveys.standing(due(booked, "day-1"), at=booked.anchor_at + DAY) == "early"


def test_a_first_measurement_is_not_taken_after_the_injection(injected):
    assert surveys.standing(due(injected, "baseline"), at=injected.anchor_at) == "over"


@pytest.mark.parametrize("status", [EpisodeStatus.CANCELLED, EpisodeStatus.LOST])
def test_a_patient_who_is_no_longer_followed_is_not_asked(injected, status):
    event = due(injected, "month-6")
    Episode.objects.filter(pk=injected.pk).update(status=status)

    assert surveys.standing(surveys.dated(event.pk), at=noon(event.due_on)) == "over"


def test_a_deceased_patient_is_not_asked(injected):
    event = due(injected, "month-6")
    injected.patient.deceased = True
    injected.patient.save()

    assert surveys.standing(surveys.dated(event.pk), at=noon(event.due_on)) == "over"


def test_answers_taken_by_phone_say_so_and_by_whom(injected):
    event = due(injected, "month-6")
    answer(event, noon(event.due_on), pain_vas={"pain": 23})

    surveys.record(event, answers={"odi": TWOS}, mode="phone", by="coordinator", at=noon(event.due_on))

    odi = response_to(event, "odi")
    assert (odi.mode, odi.recorded_by, odi.score) == ("phone", "coordinator", 40)
    assert response_to(event, "pain-vas").answers == {"pain": 23}
    assert surveys.dated(event.pk).status == EventStatus.DONE


def test_paper_filled_in_on_time_may_be_entered_for_a_week(injected):
    event = due(injected, "month-6")
    late = events.window_end(event) + timedelta(days=6)
    events.miss_overdue(at=late)
    answers = {"pain-vas": {"pain": 23}, "odi": TWOS}

    with pytest.raises(surveys.SurveyClosed):
        surveys.record(event, answers=answers, mode="phone", by="coordinator", at=late)
    with pytest.raises(surveys.SurveyClosed):
        surveys.record(event, answers=answers, mode="paper", by="coordinator", at=late + DAY)
    surveys.record(event, answers=answers, mode="paper", by="coordinator", at=late)

    assert surveys.dated(event.pk).status == EventStatus.DONE


def test_answers_of_staff_need_a_name(injected):
    event = due(injected, "month-6")

    with pytest.raises(StepRefused):
        surveys.record(event, answers={}, mode="phone", by="", at=noon(event.due_on))
    with pytest.raises(StepRefused):
        surveys.record(event, answers={}, mode="self", by="coordinator", at=noon(event.due_on))


def test_a_yes_to_a_symptom_alerts_at_once_before_the_survey_is_finished(injected):
    event = due(injected, "day-3")

    answer(event, noon(event.due_on), red_flags={"leg-weakness": False, "fever": True, "worse-pain": True})

    alert = Alert.objects.get()
    assert (alert.kind, alert.status) == (AlertKind.RED_FLAG, AlertStatus.RAISED)
    assert alert.detail.splitlines() == [
        "Have you had a fever of 38 °C (100.4 °F) or more together with back pain? Yes.",
        "Has your back pain become rapidly worse after it had started to get better? Yes.",
    ]


@pytest.mark.parametrize(("now", "alerts"), [(69, 0), (70, 1), (100, 1)])
def test_pain_that_rose_by_thirty_alerts(booked, inject, now, alerts):
    booked.refresh_from_db()
    first = due(booked, "baseline")
    completed(first, booked.anchor_at - DAY, pain_vas={"pain": 40}, odi=TWOS)
    event = due(inject(booked), "month-3")

    completed(event, noon(event.due_on), pain_vas={"pain": now}, odi=TWOS)

    assert list(Alert.objects.values_list("kind", flat=True)) == [AlertKind.PAIN_ROSE] * alerts


def test_a_number_is_not_compared_with_a_line(booked, inject):
    booked.refresh_from_db()
    completed(due(booked, "baseline"), booked.anchor_at - DAY, pain_nrs={"pain": 4}, odi=TWOS)
    event = due(inject(booked), "month-3")

    completed(event, noon(event.due_on), pain_vas={"pain": 90}, odi=TWOS)

    assert Alert.objects.count() == 0


def test_without_a_licence_only_what_is_ours_is_asked(injected, settings):
    event = due(injected, "month-6")
    settings.DEMO = False

    done = completed(event, noon(event.due_on), pain_vas={"pain": 23})

    assert done.status == EventStatus.DONE
    assert surveys.not_asked(event) == [
        "Daily activities is not asked: its licensed wording has not been loaded (load_instrument)."
    ]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_devices_at_once_leave_one_response_and_one_alert(injected):
    event = due(injected, "day-3")
    start, failures = Barrier(6), []

    def press(number):
        try:
            start.wait()
            answer(event, noon(event.due_on), red_flags={"fever": True}, pain_now={"pain": number})
        except Exception as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [Thread(target=press, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert Response.objects.count() == 2
    assert Alert.objects.count() == 1
    assert set(Response.objects.values_list("status", flat=True)) == {ResponseStatus.IN_PROGRESS}


def test_answers_given_all_at_once_count_like_those_given_one_by_one(injected):
    event = due(injected, "month-6")
    at = noon(event.due_on)

    done = surveys.answer(event, answers={"pain-vas": {"pain": 40}, "odi": TWOS}, at=at)
    again = surveys.answer(event, answers={"pain-vas": {"pain": 90}, "odi": TWOS}, at=at)

    assert (done.status, again.status) == (EventStatus.DONE, EventStatus.DONE)
    assert (response_to(event, "pain-vas").score, response_to(event, "odi").score) == (Decimal(40), Decimal(40))
    assert response_to(event, "odi").mode == "self"
