"""Step 7: what the patient says. Leaves one Response for each instrument and time point with every Answer that led to
it, its score, an alert where an answer is worrying, and the event done. Every step here holds the event's row, so two
devices take turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import transaction

from clinic import clock
from clinic.status import StepRefused, move
from clinic.text import clean
from followup import alerts, events, instruments, scores
from followup.instruments import Question
from followup.models import Answer, FollowUpEvent, Instrument, Response
from followup.models.alert import AlertKind
from followup.models.event import EventKind, FollowUpEventQuerySet
from followup.models.survey import CORRECTION, Absent, Mode
from followup.states import RESPONSE_FINISHED, RESPONSE_MOVES, EventStatus, ResponseStatus
from scheduling.states import EpisodeStatus

# Whom calls did not reach has missed the time point for us; their own link still works while the window is open.
ASKED = (EventStatus.OPEN, EventStatus.MISSED)


class SurveyClosed(StepRefused):
    code = "survey_closed"


class BadAnswer(StepRefused):
    code = "bad_answer"


class Standing(StrEnum):
    """Whether a survey can be answered now."""

    EARLY = "early"
    OPEN = "open"
    DONE = "done"
    OVER = "over"


@dataclass(frozen=True)
class Page:
    """One question on one screen, and what was answered so far; `instead` is the same question as a number."""

    number: int
    of: int
    instrument: Instrument
    question: Question
    value: object
    answered: bool
    instead: "Page | None" = None


def dated(pk: object) -> FollowUpEvent | None:
    """The event with its dates and everybody it concerns."""
    return _rows().filter(pk=pk).first()


def standing(event: FollowUpEvent, *, at: datetime) -> Standing:
    """Whether `event` (with its dates) can be answered by its patient at this moment."""
    episode = event.episode
    if event.status == EventStatus.DONE:
        return Standing.DONE
    stopped = episode.patient.deceased or episode.status in (EpisodeStatus.CANCELLED, EpisodeStatus.LOST)
    if event.kind == EventKind.MRI or event.status not in ASKED or stopped or episode.anchor_at is None:
        return Standing.OVER
    if not event.before_injection and not episode.injected:
        return Standing.EARLY
    if clock.local_date(at, episode.patient.site.time_zone) < event.opens_on:
        return Standing.EARLY
    until = events.answerable_until(event)
    return Standing.OPEN if until is not None and at < until else Standing.OVER


def open_for(event: FollowUpEvent, *, at: datetime) -> tuple[Page, ...]:
    """The questions of this survey in order, with the answers so far."""
    form = _Form(_rows().get(pk=event.pk))
    form.refuse_unless_open(at=at)
    return form.pages()


def pages(event: FollowUpEvent) -> tuple[Page, ...]:
    """The same for staff, who may look at any time; `event` with its dates."""
    return _Form(event).pages()


def history(event: FollowUpEvent) -> list[Answer]:
    """Every answer to this event as it was given, the last one last."""
    return list(Answer.objects.filter(response__event=event).select_related("response__instrument"))


def not_asked(event: FollowUpEvent) -> list[str]:
    """Why some questionnaires of this event cannot be asked, for the coordinator."""
    language = event.episode.patient.language
    return [why for code in event.instruments if (why := instruments.why_not(code, language))]


@transaction.atomic
def save_answer(
    event: FollowUpEvent,
    *,
    instrument: str,
    link_id: str,
    value: object,
    at: datetime,
    mode: str = Mode.SELF,
    by: str = "",
    input_mode: str = "",
) -> Response:
    """Keep one answer; None is "skipped". A finished response stays as it is. Who had been given up by phone and now
    begins to answer has the survey opened again."""
    form = _held(event)
    if form.event.status != EventStatus.DONE:
        form.refuse_unless_open(at=at)
    form.put(instrument, link_id, value, several=mode == Mode.PAPER, input_mode=input_mode)
    form.write(at=at, mode=mode, by=by)
    if form.event.status == EventStatus.MISSED:
        events.reopen(form.event, by=by or "patient", at=at, reason="The patient began to answer.")
    return form.responses[instrument]


@transaction.atomic
def complete(event: FollowUpEvent, *, at: datetime, mode: str = Mode.SELF, by: str = "") -> FollowUpEvent:
    """Score the answers and close the event. Completing it a second time changes nothing."""
    form = _held(event)
    if form.event.status == EventStatus.DONE:
        return form.event
    form.refuse_unless_open(at=at)
    return _complete(form, by=by or ("patient" if mode == Mode.SELF else mode), at=at)


@transaction.atomic
def answer(event: FollowUpEvent, *, answers: Mapping[str, Mapping[str, Any]], at: datetime) -> FollowUpEvent:
    """All of a patient's own answers at once, and the event closed: instrument -> link id -> value."""
    form = _held(event)
    if form.event.status == EventStatus.DONE:
        return form.event
    form.refuse_unless_open(at=at)
    for code, items in answers.items():
        for link_id, value in items.items():
            form.put(code, link_id, value)
    form.write(at=at, mode=Mode.SELF, by="")
    return _complete(form, by="patient", at=at)


@transaction.atomic
def record(
    event: FollowUpEvent,
    *,
    answers: Mapping[str, Mapping[str, Any]],
    mode: str,
    by: str,
    at: datetime,
    rest_unanswered: bool = False,
) -> FollowUpEvent:
    """Enter what a patient said by phone or wrote on paper, and close the event. What the patient has answered already
    stays theirs unless `answers` says otherwise. Questions without an answer are refused, or with `rest_unanswered`
    marked as not answered by whoever says so. Paper filled in on time may be entered until a week after the window."""
    if mode not in (Mode.PHONE, Mode.PAPER) or not by:
        raise BadAnswer("Say whether the answers came by phone or on paper, and who took them.")
    form = _held(event)
    if not (mode == Mode.PAPER and _paper_may_still_come(form.event, at=at)):
        form.refuse_unless_open(at=at)
    for code, items in answers.items():
        for link_id, value in items.items():
            form.put(code, link_id, value, several=mode == Mode.PAPER)
    if rest_unanswered:
        for page in form.pages():
            if not page.answered:
                form.put(page.instrument.code, page.question.link_id, None, absent=Absent.UNKNOWN)
    form.write(at=at, mode=mode, by=by)
    return _complete(form, by=by, at=at)


@transaction.atomic
def amend(response: Response, *, answers: Mapping[str, Any], reason: str, by: str, at: datetime) -> Response:
    """Correct a finished response: link id -> value. What was answered before is kept beside it with who, when and why;
    the score is made again, and a worrying correction raises an alert like any answer."""
    if not (reason := clean(reason, lines=True)) or not by:
        raise BadAnswer("Say why the answers are corrected, and who corrects them.")
    form = _held(response.event)
    response = form.responses[response.instrument_code]
    if response.status not in RESPONSE_FINISHED:
        raise SurveyClosed(f"{response} is not finished: there is nothing to correct yet. Enter the answers instead.")
    form.correct(response, answers)
    form.keep_history(at=at, mode=CORRECTION, by=by, reason=reason)
    columns = {"answers": response.answers, **scores.columns(response)}
    response = move(response, ResponseStatus.AMENDED, moves=RESPONSE_MOVES, by=by, at=at, reason=reason, also=columns)
    form.alert_red_flags(at=at)
    scores.alert_if_pain_rose(form.event, at=at)
    return response


class _Form:
    """One survey in memory: its event, the wordings it is asked in, and the answers so far."""

    def __init__(self, event: FollowUpEvent):
        self.event = event
        self.responses = {r.instrument_code: r for r in event.responses.select_related("instrument")}
        self.changed: set[str] = set()
        self.given: list[tuple[str, Answer]] = []  # by code, what is not in the history yet
        # Once begun, a survey keeps its wording, whatever has been loaded since.
        begun = {code: response.instrument for code, response in self.responses.items()}
        self.wordings = instruments.wordings_in(event.episode.patient.language) | begun
        self.asked = [code for code in event.instruments if code in self.wordings]
        self.others = [instruments.alternative_to(self.wordings[code]) for code in self.asked]

    def refuse_unless_open(self, *, at: datetime) -> None:
        event, now = self.event, standing(self.event, at=at)
        if now is Standing.DONE:
            raise SurveyClosed(f"{event} has been answered already; the answers stay as they are.")
        if now is Standing.EARLY:
            raise SurveyClosed(f"{event} cannot be answered yet: it is not due, or the injection has not been given.")
        if now is Standing.OVER:
            raise SurveyClosed(f"{event} can no longer be answered: its window has closed, or it was called off.")
        if not self.asked:
            raise SurveyClosed(" ".join([f"{event} has nothing to ask.", *not_asked(event)]))

    def pages(self) -> tuple[Page, ...]:
        every = [(code, question) for code in self.asked for question in self._questions(code)]
        return tuple(
            self._page(code, question, number=number, of=len(every))
            for number, (code, question) in enumerate(every, start=1)
        )

    def put(
        self,
        code: str,
        link_id: str,
        value: object,
        *,
        absent: str = Absent.DECLINED,
        several: bool = False,
        input_mode: str = "",
    ) -> None:
        """Take one answer, on paper perhaps `several` marks. Of the line and the number one is answered, and the other
        is thereby skipped: never calculated from it."""
        self._check(code, link_id, value, several=several)
        self._keep(code, link_id, value, absent=absent, input_mode=input_mode)
        other = instruments.alternative_to(self.wordings[code])
        if value is not None and other in self.wordings and (other in self.asked or other in self.responses):
            self._keep(other, link_id, None, absent=Absent.OTHER_SCALE)

    def correct(self, response: Response, answers: Mapping[str, Any]) -> None:
        """Take what differs from what a finished response says."""
        code = response.instrument_code
        other = self.responses.get(instruments.alternative_to(response.instrument))
        for link_id, value in answers.items():
            self._check(code, link_id, value, several=response.mode == Mode.PAPER)
            if value is not None and other is not None and other.answers.get(link_id) is not None:
                raise BadAnswer(f"This was answered on the other scale: correct it there ({other.instrument.title}).")
            if link_id not in response.answers or response.answers[link_id] != value:
                self._note(code, link_id, value, absent=Absent.UNKNOWN)
        if code not in self.changed:
            raise BadAnswer("Nothing of this differs from what was answered.")

    def write(self, *, at: datetime, mode: str, by: str) -> None:
        """Keep what was put. An answer that says what was said before is a sign of life and no new answer: whoever
        gave it first keeps it."""
        said = {code for code, answer in self.given if answer.absent != Absent.UNKNOWN}
        for code in sorted(self.changed):
            response = self.responses[code]
            if code in said or response.started_at is None:
                response.mode, response.recorded_by = mode, by
            response.started_at = response.started_at or at
            response.last_answer_at = at
            response.save()
        self.keep_history(at=at, mode=mode, by=by)
        self.alert_red_flags(at=at)
        self.changed.clear()

    def keep_history(self, *, at: datetime, mode: str, by: str, reason: str = "") -> None:
        for code, answer in self.given:
            answer.response = self.responses[code]
            answer.at, answer.mode, answer.by, answer.reason = at, mode, by, reason
        Answer.objects.bulk_create([answer for _, answer in self.given])
        self.given.clear()

    def alert_red_flags(self, *, at: datetime) -> None:
        for code in sorted(self.changed):
            answers, wording = self.responses[code].answers, self.wordings[code]
            if wording.scoring == "symptoms" and True in answers.values():
                asked = instruments.for_staff(wording)  # an alert that nobody at the desk can read helps nobody
                yes = [question.text for question in asked if answers.get(question.link_id) is True]
                for text in yes:
                    alerts.raise_alert(self.event, kind=AlertKind.RED_FLAG, detail=f"{text} Yes.", at=at)

    def _questions(self, code: str) -> tuple[Question, ...]:
        wording = self.wordings.get(code)
        return instruments.questions(wording) if wording else ()

    def _page(self, code: str, question: Question, *, number: int, of: int, as_number: bool = False) -> Page:
        answers = self.responses[code].answers if code in self.responses else {}
        other = "" if as_number else instruments.alternative_to(self.wordings[code])
        same = next((q for q in self._questions(other) if q.link_id == question.link_id), None)
        return Page(
            number=number,
            of=of,
            instrument=self.wordings[code],
            question=question,
            value=answers.get(question.link_id),
            answered=question.link_id in answers,
            instead=self._page(other, same, number=number, of=of, as_number=True) if same else None,
        )

    def _check(self, code: str, link_id: str, value: object, *, several: bool) -> None:
        question = next((q for q in self._questions(code) if q.link_id == link_id), None)
        if question is None or code not in (*self.asked, *self.others, *self.responses):
            raise BadAnswer(f"{self.event} does not ask that question.")
        if not instruments.allows(self.wordings[code], question, value, on_paper=several):
            raise BadAnswer(f"That is not an answer to: {question.text}")

    def _keep(self, code: str, link_id: str, value: object, *, absent: str, input_mode: str = "") -> None:
        if code not in self.responses:
            wording = self.wordings[code]
            self.responses[code] = Response(event=self.event, instrument=wording, instrument_code=code, answers={})
        response = self.responses[code]
        if response.status in RESPONSE_FINISHED:
            return
        self.changed.add(code)
        if link_id not in response.answers or response.answers[link_id] != value:
            self._note(code, link_id, value, absent=absent, input_mode=input_mode)

    def _note(self, code: str, link_id: str, value: object, *, absent: str, input_mode: str = "") -> None:
        self.changed.add(code)
        self.responses[code].answers[link_id] = value
        why = absent if value is None else ""
        self.given.append((code, Answer(link_id=link_id, value=value, absent=why, input_mode=input_mode)))


def _rows() -> FollowUpEventQuerySet:
    return FollowUpEvent.objects.with_dates().select_related("episode__patient__site", "episode__protocol")


def _held(event: FollowUpEvent) -> _Form:
    """The survey, with its event's row locked until the transaction ends."""
    return _Form(_rows().select_for_update(of=("self",), no_key=True).get(pk=event.pk))


def _paper_may_still_come(event: FollowUpEvent, *, at: datetime) -> bool:
    if event.status not in (EventStatus.OPEN, EventStatus.MISSED) or event.opens_on is None:
        return False
    today = clock.local_date(at, event.episode.patient.site.time_zone)
    return event.opens_on <= today and at < events.window_end(event) + events.HARD_CAP


def _complete(form: _Form, *, by: str, at: datetime) -> FollowUpEvent:
    missing = sum(not page.answered for page in form.pages())
    if missing:
        questions = "1 question is" if missing == 1 else f"{missing} questions are"
        raise BadAnswer(f"{questions} neither answered nor skipped yet.")
    for code in sorted(form.responses):
        response = form.responses[code]
        if response.status == ResponseStatus.IN_PROGRESS:
            columns = {"completed_at": at, **scores.columns(response)}
            move(response, ResponseStatus.COMPLETED, moves=RESPONSE_MOVES, by=by, at=at, also=columns)
    scores.alert_if_pain_rose(form.event, at=at)
    return events.close(form.event, to=EventStatus.DONE, by=by, at=at)
