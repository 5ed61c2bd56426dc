"""What a machine is told about the service: no more than it needs, and nothing of a patient."""

import re
from datetime import timedelta

import pytest
import yaml
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from clinic import heartbeats, metrics, probes, tasks
from clinic.models import Channel, Message
from clinic.models.messages import MOMENT
from clinic.states import MessageStatus as S
from dev import PROJECT
from followup.demo import walk

TOKEN = "a-long-random-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def token(settings):
    settings.METRICS_TOKEN = TOKEN


@pytest.fixture
def message(patient):
    def written(number, status, **given):
        details = {"kind": "appointment.reminder", "due_at": tasks.database_now(), "channel": Channel.EMAIL} | given
        return Message.objects.create(site=patient.site, patient=patient, about=str(number), status=status, **details)

    return written


def read(client):
    """Every sample of the page: its name with its labels, and its value."""
    text = client.get("/metrics", headers=BEARER).text
    return {name: float(value) for name, value in re.findall(r"^([a-z][^ ]*(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def test_livez_asks_nothing_of_the_database(client):
    response = client.get("/livez")

    assert (response.status_code, response.text) == (200, "ok\n")


@pytest.mark.django_db
def test_readyz_says_that_requests_may_be_sent(client):
    response = client.get("/readyz")

    assert (response.status_code, response.json()) == (200, {"ready": True})


@pytest.mark.django_db
def test_readyz_is_not_ready_while_a_migration_waits(client):
    probes._all_applied.cache_clear()
    MigrationRecorder(connection).migration_qs.filter(app="clinic", name="0002_initial").delete()

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"ready": False, "why": "Migrations are waiting to be applied."}


def test_readyz_is_not_ready_without_the_database(client, monkeypatch):
    def gone():
        raise OperationalError

    monkeypatch.setattr(probes, "_migrations_to_apply", gone)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"ready": False, "why": "The database does not answer."}


@pytest.mark.parametrize("path", ["livez", "readyz", "healthz", "metrics"])
def test_a_probe_is_not_sent_to_tls_because_it_comes_from_inside(client, settings, path, db):
    settings.SECURE_SSL_REDIRECT = True

    assert client.get(f"/{path}").status_code != 301


def test_figures_are_told_to_nobody_while_no_token_is_set(client, settings):
    settings.METRICS_TOKEN = ""

    for headers in ({}, {"authorization": "Bearer "}, BEARER):
        response = client.get("/metrics", headers=headers)
        assert (response.status_code, response.text) == (403, "Nobody may read this: METRICS_TOKEN is not set.\n")


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bé"}]
)
def test_figures_are_told_only_to_who_brings_the_token(client, token, headers):
    response = client.get("/metrics", headers=headers)

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="metrics"'


@pytest.mark.django_db
def test_messages_are_counted_by_state_kind_and_channel(client, token, message):
    hour_ago = tasks.database_now() - timedelta(hours=1)
    message(1, S.DUE, due_at=hour_ago)
    message(2, S.DUE)
    message(3, S.DUE, channel=Channel.SMS)
    message(4, S.UNKNOWN, kind="survey.invitation")
    message(5, S.FAILED)
    message(6, S.SENDING, lease_until=hour_ago)
    message(7, S.SENDING, lease_until=hour_ago + timedelta(hours=2))
    message(8, S.SENT, sent_at=hour_ago)
    message(9, S.SKIPPED)
    message(10, S.SENT, due_at=hour_ago - timedelta(days=2), sent_at=hour_ago - timedelta(days=2))

    figures = read(client)

    messages = {name: value for name, value in figures.items() if name.startswith("pulposus_messages")}
    assert messages == {
        'pulposus_messages_open{channel="email",kind="appointment.reminder",status="due"}': 2,
        'pulposus_messages_open{channel="sms",kind="appointment.reminder",status="due"}': 1,
        'pulposus_messages_open{channel="email",kind="appointment.reminder",status="failed"}': 1,
        'pulposus_messages_open{channel="email",kind="appointment.reminder",status="sending"}': 2,
        'pulposus_messages_open{channel="email",kind="survey.invitation",status="unknown"}': 1,
        'pulposus_messages_settled_last_day{channel="email",kind="appointment.reminder",status="sent"}': 1,
        'pulposus_messages_settled_last_day{channel="email",kind="appointment.reminder",status="skipped"}': 1,
        "pulposus_messages_unknown": 1,
        "pulposus_messages_sending_past_lease": 1,
    }
    assert round(figures["pulposus_message_oldest_due_seconds"] / 60) == 60


@pytest.mark.django_db
def test_the_figures_say_how_long_ago_each_sweep_went_through_and_what_it_did(client, token):
    at = tasks.database_now()
    heartbeats.beat("followup.sweep", at=at - timedelta(minutes=5), counts={"events_opened": 4})

    figures = read(client)

    assert round(figures['pulposus_heartbeat_age_seconds{sweep="followup.sweep"}'] / 60) == 5
    assert figures['pulposus_heartbeat_age_seconds{sweep="clinic.deliver_messages"}'] == float("inf")
    assert figures['pulposus_sweep_last_run{part="events_opened",sweep="followup.sweep"}'] == 4
    assert abs(figures["pulposus_clock_offset_seconds"]) < 5


@pytest.mark.django_db
def test_the_figures_count_the_work_queues_of_every_clinic(client, token, patient, other_site, message, at):
    message(1, S.UNKNOWN)
    walk.register(other_site, at=at, mrn="MRN-2")

    figures = read(client)

    queues = {name: value for name, value in figures.items() if name.startswith("pulposus_queue_rows")}
    assert queues['pulposus_queue_rows{queue="messages-nobody-is-sure-of"}'] == 1
    assert len(queues) == len(metrics.desk.QUEUES)


@pytest.mark.django_db
def test_no_machine_is_told_anything_of_a_patient(client, token, site, other_site, at):
    markers = {
        "family_name": "Markerfamily",
        "given_name": "Markergiven",
        "email": "marker-mail@example.org",
        "phone": "+13125559876",
    }
    patient = walk.register(site, at=at, mrn="MARKER-MRN", **markers)
    appointment = walk.book(walk.open_episode(patient, at=at), at=at)
    for number, status in enumerate((S.DUE, S.SENDING, S.UNKNOWN, S.FAILED, S.SKIPPED)):
        Message.objects.create(
            site=site,
            patient=patient,
            kind="appointment.booked",
            about=str(appointment.pk),
            occasion=str(number),
            status=status,
            due_at=tasks.database_now(),
            subject="Markersubject",
            sent_to=patient.email,
            reason="marker-reason of Markerfamily",
        )
    heartbeats.beat("followup.sweep", at=at, counts={"events_opened": 1})

    told = "".join(client.get(path, headers=BEARER).text for path in ("/livez", "/readyz", "/healthz", "/metrics"))

    secret = [*markers.values(), "MARKER", "marker", "Marker", str(patient.pk), str(appointment.pk), site.name]
    assert [word for word in secret if word in told] == []
    assert 'status="unknown"' in told


@pytest.mark.django_db
def test_every_alarm_of_the_example_asks_for_figures_that_are_told(client, token):
    told = set(re.findall(r"^# HELP (\S+)", client.get("/metrics", headers=BEARER).text, re.MULTILINE))
    rules = yaml.safe_load((PROJECT / "docs" / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]

    asked = {name for rule in rules for name in re.findall(r"pulposus_[a-z_]+", rule["expr"])}
    assert len(asked) == 6
    assert asked - told == set()
    assert all(rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"] for rule in rules)


SETTLED_LONG_AGO = """
INSERT INTO clinic_message (id, site_id, patient_id, kind, about, occasion, version, channel, status, due_at, sent_at,
                            attempts, reason, subject, sent_to)
SELECT gen_random_uuid(), %s, %s, 'appointment.reminder', n, '', 1, 'email', 'sent', now() - n * interval '1 hour',
       now() - n * interval '1 hour', 1, '', '', ''
  FROM generate_series(1, 10000) AS n
"""


@pytest.fixture
def years_of_messages(patient):
    with connection.cursor() as cursor:
        cursor.execute(SETTLED_LONG_AGO, [patient.site_id, patient.pk])
        cursor.execute("ANALYZE clinic_message")


@pytest.mark.usefixtures("years_of_messages")
def test_what_is_settled_is_never_read_through_to_count_what_is_open():
    """With a million of them that would take a second; the planner already knows better with ten thousand."""
    with connection.cursor() as cursor:
        plans = []
        for question in (metrics.OPEN, metrics.SETTLED):
            cursor.execute(f"EXPLAIN {question}")
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    assert "Seq Scan" not in plans[0] + plans[1]
    assert "messages_to_work_on" in plans[0]
    assert "messages_for_a_person" in plans[0]
    assert "messages_by_moment" in plans[1]
    assert "Index Cond" in plans[1]


@pytest.mark.usefixtures("years_of_messages")
def test_a_days_messages_are_found_by_their_moment_without_reading_the_others(site):
    at = tasks.database_now()
    rows = Message.objects.annotate(moment=MOMENT).filter(site=site, moment__gte=at - timedelta(days=1), moment__lt=at)

    assert "messages_by_moment" in rows.explain()
