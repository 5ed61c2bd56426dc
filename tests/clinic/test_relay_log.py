from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from clinic import ledger, relay_log
from clinic.models import RelayEntry, RelayLog

pytestmark = pytest.mark.django_db

SINCE = timedelta(minutes=5)  # after the log began


@pytest.fixture
def log(tmp_path, at, settings):
    settings.DELIVERY_LEDGER = "clinic.ledger.PostfixLog"
    file = tmp_path / "mail.log"
    file.write_text(line(at, "qmgr[7]: 4XkA0: from=<a@example.org>, size=1, nrcpt=1 (queue active)"))
    return file


def line(at, words):
    return f"{at.isoformat()} mail postfix/{words}\n"


def taken(message, at, queue_id="4XkB1"):
    return line(at, f"cleanup[8]: {queue_id}: message-id={message.message_id}") + line(
        at + timedelta(seconds=1), f"qmgr[7]: {queue_id}: from=<clinic@example.org>, size=900, nrcpt=1 (queue active)"
    )


def add(log, words):
    with log.open("a") as file:
        file.write(words)


def test_a_mail_that_reached_the_queue_is_found(due, log, at):
    message = due()
    add(log, taken(message, at))

    assert relay_log.read(log, at=at) == 2
    assert ledger.lookup(message.message_id, since=at) == ledger.Found(at + timedelta(seconds=1))


def test_a_mail_whose_line_broke_while_its_text_travelled_is_not_found(due, log, at):
    message = due()
    add(log, line(at, f"cleanup[8]: 4XkB1: message-id={message.message_id}"))

    relay_log.read(log, at=at + timedelta(hours=1))

    assert ledger.lookup(message.message_id, since=at + SINCE) == ledger.Absent()


def test_what_the_log_began_too_late_for_is_not_called_absent(due, log, at):
    message = due()
    relay_log.read(log, at=at + timedelta(hours=1))

    assert ledger.lookup(message.message_id, since=at + timedelta(minutes=2)) == ledger.Undecided()
    assert ledger.lookup(message.message_id, since=at + SINCE) == ledger.Absent()


def test_only_what_is_new_is_read_and_a_line_still_being_written_waits(due, log, at):
    message = due()
    relay_log.read(log, at=at)
    whole = taken(message, at)
    add(log, whole[:-20])

    assert relay_log.read(log, at=at) == 1
    add(log, whole[-20:])
    assert relay_log.read(log, at=at) == 1
    assert RelayEntry.objects.get().queued_at == at + timedelta(seconds=1)


def test_a_log_that_was_rotated_is_read_to_its_end_first(due, log, at):
    message = due()
    relay_log.read(log, at=at)
    add(log, taken(message, at))
    log.rename(log.with_name("mail.log.1"))
    log.write_text(line(at, "qmgr[7]: 4XkC0: removed"))

    assert relay_log.read(log, at=at) == 2
    assert RelayLog.objects.get().complete_from == at


def test_after_a_gap_nothing_from_before_it_is_called_absent(due, log, at):
    message = due()
    relay_log.read(log, at=at)
    log.unlink()
    log.with_name("other").touch()  # so that the new file does not get the number of the old one
    log.write_text(line(at + timedelta(hours=1), "qmgr[7]: 4XkC0: removed"))

    relay_log.read(log, at=at + timedelta(hours=2))

    assert ledger.lookup(message.message_id, since=at + SINCE) == ledger.Undecided()
    assert RelayLog.objects.get().complete_from == at + timedelta(hours=1)


def test_a_queue_id_may_come_again_for_another_mail(due, log, at):
    first, second = due("1"), due("2")
    add(log, taken(first, at) + line(at + SINCE, f"cleanup[8]: 4XkB1: message-id={second.message_id}"))

    relay_log.read(log, at=at + timedelta(hours=1))

    assert ledger.lookup(first.message_id, since=at) == ledger.Found(at + timedelta(seconds=1))
    assert ledger.lookup(second.message_id, since=at + SINCE) == ledger.Absent()


def test_other_peoples_mails_are_not_kept(log, at):
    add(log, line(at, "cleanup[8]: 4XkB1: message-id=<one@example.org>") + "\x00 nonsense\nJan 1 10:00 old postfix/x\n")

    assert relay_log.read(log, at=at) == 0
    assert not RelayEntry.objects.exists()


def test_old_entries_are_forgotten(due, log, at):
    add(log, taken(due(), at))
    relay_log.read(log, at=at)

    assert relay_log.forget_old(at=at + timedelta(days=29)) == 0
    assert relay_log.forget_old(at=at + timedelta(days=31)) == 1


def test_the_command_reads_once_and_says_how_much(due, log, at, capsys):
    add(log, taken(due(), at))

    call_command("read_relay_log", str(log))

    assert capsys.readouterr().out == "2 lines of our own mails.\n"


def test_a_log_that_is_not_there_is_said_so(tmp_path, db):
    with pytest.raises(CommandError, match=r"nothing\.log cannot be read: No such file or directory\."):
        call_command("read_relay_log", str(tmp_path / "nothing.log"))
