from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction

from clinic import messages, outbox
from clinic.models import Message
from clinic.states import MessageStatus as S

pytestmark = pytest.mark.django_db


SETTLED = """
INSERT INTO clinic_message (id, site_id, patient_id, kind, about, occasion, version, channel, status, due_at, attempts,
                            reason, subject, sent_to, sent_at)
SELECT gen_random_uuid(), %s, %s, 'test.plain', n::text, '', 1, 'email', 'sent', now(), 1, '', '', '', now()
  FROM generate_series(1, 3000) n
"""


@pytest.mark.parametrize("question", ["ANY_DUE", "CLAIM", "EXPIRE", "UNSURE"])
def test_a_sweep_reads_nothing_of_what_is_settled(question, patient, at):
    with connection.cursor() as cursor:
        cursor.execute(SETTLED, [patient.site_id, patient.pk])
        cursor.execute("ANALYZE clinic_message")
        cursor.execute(f"EXPLAIN {getattr(outbox, question)}", {**outbox._terms("email", at), "reason": "", "most": 1})
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Seq Scan" not in plan
    assert "messages_to_work_on" in plan or "messages_for_a_person" in plan
    if question in ("ANY_DUE", "CLAIM"):
        assert plan.count("(lease_until IS NULL) AND (due_at <=") == 1
        assert plan.count("(lease_until <= statement_timestamp()) AND (due_at <=") == 1


def test_the_end_of_one_message_and_the_claim_of_the_next_are_one_question(due, at, django_assert_num_queries):
    due("1")
    due("2", due_at=at - timedelta(hours=1))
    first = outbox.claim("email", at=at)

    with django_assert_num_queries(2):  # and one that reads the next as it is then
        second = outbox.settle_and_claim(first, outbox.End(S.SENT), "email", at=at)

    assert [message.status for message in Message.objects.order_by("due_at")] == [S.SENT, S.SENDING]
    assert (second.message.occasion, second.message.attempts) == ("1", 1)
    assert outbox.settle_and_claim(second, outbox.End(S.SENT), "email", at=at) is None


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_what_a_worker_knows_of_a_mail_outlives_a_database_that_starts_again(due, at, monkeypatch):
    message = due()
    claimed = outbox.claim("email", at=at)
    monkeypatch.setattr(outbox, "WAITS", (0, 0, 0))
    settle, failures = outbox.settle, iter([OperationalError, OperationalError])

    def fails_twice(*args, **kwargs):
        if failure := next(failures, None):
            raise failure
        return settle(*args, **kwargs)

    monkeypatch.setattr(outbox, "settle", fails_twice)
    outbox.settle_patiently(claimed, outbox.End(S.SENT), at=at)

    message.refresh_from_db()
    assert message.status == S.SENT


def test_nothing_is_waited_for_inside_a_transaction(due, at, monkeypatch):
    due()
    claimed = outbox.claim("email", at=at)

    def fails(*_, **__):
        raise OperationalError

    monkeypatch.setattr(outbox, "settle", fails)
    with pytest.raises(OperationalError), transaction.atomic():
        outbox.settle_patiently(claimed, outbox.End(S.SENT), at=at)


def test_a_message_that_becomes_unknown_keeps_its_lease_so_that_the_record_is_asked_after_it(due, at):
    due()
    claimed = outbox.claim("email", at=at).message

    outbox.settle(outbox.Claim(claimed, 0), outbox.End(S.UNKNOWN), at=at)

    (row,) = outbox.unsure(most=1)
    assert (row.id, row.since, row.is_over) == (claimed.pk, claimed.lease_until, False)


def test_who_has_waited_for_another_try_goes_before_who_is_new(due, at):
    due("new", due_at=at - timedelta(hours=5))
    due("again")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE clinic_message SET lease_until = statement_timestamp() WHERE occasion = 'again'")

    assert messages.deliver(at=at, limit=1) == {"sent": 1}
    assert Message.objects.get(status=S.SENT).occasion == "again"
