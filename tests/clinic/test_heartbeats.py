"""A sweep that went through leaves a heartbeat, and its silence is noticed: by a probe, and in red on the desk."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.cache import cache
from django.core.cache.backends.redis import RedisCache
from django.db import DatabaseError, OperationalError
from django.urls import reverse
from django.utils.timezone import now

from clinic import desk, heartbeats, tasks
from clinic.heartbeats import DISPATCHER
from clinic.models import Heartbeat
from tests.desk import Desk

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
SWEEPS = sorted(settings.CELERY_BEAT_SCHEDULE)


@pytest.fixture(autouse=True)
def nothing_heard_yet(monkeypatch):
    monkeypatch.setattr(desk, "WATCH", desk._Watch())


@pytest.fixture
def at():
    """The database's own clock: it decides, so it cannot be stopped here."""
    return tasks.database_now()


def everything_beats(at, **silent):
    for name in SWEEPS:
        heartbeats.beat(name, at=at - silent.get(name.partition(".")[2], timedelta(0)))


def test_a_sweep_that_went_through_leaves_its_beat_and_what_it_did():
    before = tasks.database_now()

    tasks.run_parts("followup.sweep", {"events_opened": lambda at: 2, "events_missed": lambda at: 0})

    beat = Heartbeat.objects.get()
    assert (beat.name, beat.counts) == ("followup.sweep", {"events_opened": 2, "events_missed": 0})
    assert before <= beat.beat_at <= tasks.database_now()


def test_a_sweep_of_which_a_part_failed_leaves_none():
    def broken(at):
        raise ValueError

    tasks.run_parts("followup.sweep", {"events_opened": broken, "events_missed": lambda at: 0})

    assert not Heartbeat.objects.exists()


def test_the_delivery_of_messages_leaves_a_beat_though_nothing_was_due():
    tasks.deliver_messages()

    assert heartbeats.silent_for(DISPATCHER, at=tasks.database_now()) < MINUTE


def test_two_sweeps_at_once_leave_one_row_and_the_last_one_stands(at):
    heartbeats.beat("followup.sweep", at=at, counts={"events_opened": 1})
    heartbeats.beat("followup.sweep", at=at - MINUTE, counts={"events_opened": 0})

    assert heartbeats.silent_for("followup.sweep", at=at) == MINUTE
    assert Heartbeat.objects.get().counts == {"events_opened": 0}


def test_a_sweep_that_never_ran_has_been_silent_for_longer_than_anything(at):
    assert heartbeats.silent_for(DISPATCHER, at=at) == heartbeats.NEVER > timedelta(days=365_000)


def test_a_beat_from_the_future_does_not_hide_silence(at):
    everything_beats(at, deliver_messages=-60 * MINUTE)

    assert heartbeats.listen().dispatcher.silent is True


def test_what_a_sweep_did_stays_done_when_its_beat_cannot_be_noted(monkeypatch, caplog):
    def gone(*args, **given):
        raise DatabaseError("row of Reyes")

    monkeypatch.setattr(heartbeats, "beat", gone)

    assert tasks.run_parts("followup.sweep", {"events_opened": lambda at: 2}) == {"events_opened": 2}
    assert "followup.sweep went through, but left no heartbeat: DatabaseError" in caplog.text
    assert "Reyes" not in caplog.text


def test_the_service_is_healthy_while_messages_are_delivered(client, at):
    everything_beats(at)

    response = client.get("/healthz")

    assert response.status_code == 200
    answer = response.json()
    assert (answer["healthy"], answer["silent"], sorted(answer["heartbeats"])) == (True, [], sorted(SWEEPS))
    assert max(answer["heartbeats"].values()) < 60


@pytest.mark.parametrize(("silence", "status"), [(9 * MINUTE, 200), (11 * MINUTE, 503)])
def test_after_ten_minutes_without_a_delivery_the_service_is_not_healthy(client, at, silence, status):
    everything_beats(at, deliver_messages=silence)

    assert client.get("/healthz").status_code == status


def test_the_probe_says_what_is_silent_since_when(client, at):
    everything_beats(at, deliver_messages=11 * MINUTE)

    answer = client.get("/healthz").json()

    (silent,) = answer["silent"]
    assert silent["name"] == DISPATCHER
    assert silent["since"] == (at - 11 * MINUTE).isoformat(timespec="seconds")
    assert silent["seconds"] in range(660, 720)
    assert answer["why"] == "No message goes out: the sweep that delivers them does not run."


def test_how_long_silence_may_last_is_a_setting(client, at, settings):
    settings.SILENT_AFTER = timedelta(seconds=30)
    everything_beats(at, deliver_messages=MINUTE)

    assert client.get("/healthz").status_code == 503


def test_where_nothing_was_ever_delivered_the_service_is_not_healthy(client):
    response = client.get("/healthz")

    assert response.status_code == 503
    assert {silent["name"]: silent["since"] for silent in response.json()["silent"]} == dict.fromkeys(SWEEPS)


def test_another_sweep_that_is_silent_is_named_and_is_no_emergency(client, at):
    everything_beats(at, sweep=11 * MINUTE)

    response = client.get("/healthz")

    assert response.status_code == 200
    assert [silent["name"] for silent in response.json()["silent"]] == ["followup.sweep", "scheduling.sweep"]


def test_a_sweep_that_runs_once_an_hour_may_be_silent_for_two(client, at):
    everything_beats(at, forget_answers=119 * MINUTE)
    assert client.get("/healthz").json()["silent"] == []

    everything_beats(at, forget_answers=121 * MINUTE)
    assert [silent["name"] for silent in client.get("/healthz").json()["silent"]] == ["clinic.forget_answers"]


def test_the_probes_tell_the_truth_while_the_broker_is_down(client, at, settings):
    settings.CACHES = {"default": {"BACKEND": f"{RedisCache.__module__}.RedisCache", "LOCATION": "redis://127.0.0.1:1"}}
    with pytest.raises(Exception, match="refused"):
        cache.get("anything")
    everything_beats(at)

    assert [client.get(path).status_code for path in ("/livez", "/readyz", "/healthz")] == [200, 200, 200]


def test_without_the_database_nothing_is_healthy(client, monkeypatch):
    def gone():
        raise OperationalError("host=db user=pulposus")

    monkeypatch.setattr(heartbeats, "listen", gone)

    response = client.get("/healthz")

    assert response.status_code == 503
    assert response.json() == {"healthy": False, "why": "The database does not answer."}


def test_every_page_of_the_desk_says_in_red_that_messages_stand_still(coordinator, site, at, settings):
    settings.OPERATOR = "the IT desk, extension 4711"
    everything_beats(at, deliver_messages=25 * MINUTE)

    for name in ("index", "clinic_patient_changelist", "clinic_patient_add", "clinic_going-out", "password_change"):
        page = Desk(coordinator).client.get(reverse(f"admin:{name}")).text
        assert '<section class="silence" role="alert">' in page
        assert "The delivery has stood still for 25 minutes, since " in page
        assert "(Chicago)" in page
        assert "Please tell the IT desk, extension 4711 now" in page


def test_the_desk_says_it_also_where_nothing_was_ever_delivered(coordinator):
    page = Desk(coordinator).client.get(reverse("admin:index")).text

    assert "The delivery has not run since this service was set up. Please tell whoever runs Pulposus" in page


@pytest.mark.parametrize(
    ("minutes", "words"), [(10, "10 minutes"), (119, "119 minutes"), (120, "2 hours"), (60 * 50, "2 days")]
)
def test_how_long_it_has_been_is_said_as_people_say_it(minutes, words):
    assert desk._lasting(minutes * MINUTE) == words


def test_the_desk_is_calm_while_messages_are_delivered(coordinator, at):
    everything_beats(at)

    assert 'class="silence"' not in Desk(coordinator).client.get(reverse("admin:index")).text


def test_nobody_but_staff_is_told(client, coordinator):
    assert 'class="silence"' not in client.get(reverse("admin:login")).text
    assert 'class="silence"' not in client.get("/").text


def test_many_pages_ask_about_it_once_in_a_few_seconds(monkeypatch):
    asked = []

    def listen():
        asked.append(1)
        return heartbeats.Heard(now(), (), (heartbeats.Pulse(DISPATCHER, now(), now(), {}),))

    monkeypatch.setattr(heartbeats, "listen", listen)
    moment = now()
    for seconds in (0, 1, 4, 5, 6, 9, 10):
        desk.WATCH.look(at=moment + timedelta(seconds=seconds))

    assert len(asked) == 3


def test_asking_costs_one_question(at, django_assert_num_queries):
    everything_beats(at)

    with django_assert_num_queries(1):
        desk.WATCH.look(at=at)
        desk.WATCH.look(at=at)
