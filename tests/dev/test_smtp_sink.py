"""The mail server that keeps everything and delivers nothing."""

import smtplib
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from dev.smtp_sink import read_ledger, running_sink


def test_a_mail_is_in_the_maildir_and_in_the_ledger_before_it_is_accepted(tmp_path):
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Zwölf Wochen", "clinic@example.org", "ada@example.org"
    mail["Message-ID"] = "<one@example.org>"
    mail.set_content("Wie geht es Ihnen?\n")

    with running_sink(tmp_path) as sink, smtplib.SMTP("127.0.0.1", sink.port) as client:
        client.send_message(mail, to_addrs=["ada@example.org", "copy@example.org"])
        ((_, message_id, to),) = sink.lines()
        (kept,) = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in sink.maildir.glob("new/*")]

    assert (message_id, to) == ("<one@example.org>", "ada@example.org,copy@example.org")
    assert (kept["Subject"], kept["Delivered-To"]) == ("Zwölf Wochen", to)
    assert kept.get_content() == "Wie geht es Ihnen?\n"
    assert sink.process.returncode == 0


def test_what_was_accepted_outlives_the_server(tmp_path):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "clinic@example.org", "ada@example.org", "<two@example.org>"

    with running_sink(tmp_path) as sink, smtplib.SMTP("127.0.0.1", sink.port) as client:
        client.send_message(mail)
        sink.process.kill()
        sink.process.wait()
    with running_sink(tmp_path) as again:
        assert [message_id for _, message_id, _ in again.lines()] == ["<two@example.org>"]


def test_a_line_that_is_cut_before_the_mail_is_taken_leaves_nothing_and_after_it_everything(tmp_path):
    with running_sink(tmp_path / "before", "--drop-before", "1") as before:
        with smtplib.SMTP("127.0.0.1", before.port) as client, pytest.raises(smtplib.SMTPServerDisconnected):
            client.send_message(a_mail("<one@example.org>"))
        assert before.lines() == []

    with running_sink(tmp_path / "after", "--drop-after", "1") as after:
        with smtplib.SMTP("127.0.0.1", after.port) as client, pytest.raises(smtplib.SMTPServerDisconnected):
            client.send_message(a_mail("<two@example.org>"))
        assert [message_id for _, message_id, _ in after.lines()] == ["<two@example.org>"]


def test_the_same_seed_cuts_the_same_mails_off(tmp_path):
    def taken(folder):
        with running_sink(tmp_path / folder, "--drop-before", "0.5", "--seed", "7") as sink:
            for number in range(12):
                with smtplib.SMTP("127.0.0.1", sink.port) as client, suppress(smtplib.SMTPServerDisconnected):
                    client.send_message(a_mail(f"<{number}@example.org>"))
            return [message_id for _, message_id, _ in sink.lines()]

    assert (first := taken("first")) == taken("second")
    assert 0 < len(first) < 12


def test_a_client_that_falls_silent_is_cut_off(tmp_path):
    with running_sink(tmp_path, "--idle-timeout", "0.2") as sink, smtplib.SMTP("127.0.0.1", sink.port) as client:
        assert client.sock.recv(100) == b""


def test_a_server_that_was_killed_comes_back_on_the_same_port_and_goes_on_with_its_ledger(tmp_path):
    with running_sink(tmp_path) as sink:
        with smtplib.SMTP("127.0.0.1", sink.port) as client:
            client.send_message(a_mail("<one@example.org>"))
        sink.process.kill()
        sink.process.wait()

    with running_sink(tmp_path, "--port", str(sink.port)) as again:
        with smtplib.SMTP("127.0.0.1", again.port) as client:
            client.send_message(a_mail("<two@example.org>"))
        assert again.port == sink.port
        assert [message_id for _, message_id, _ in again.lines()] == ["<one@example.org>", "<two@example.org>"]


def test_a_line_of_the_ledger_that_is_still_being_written_is_not_read(tmp_path):
    (tmp_path / "ledger").write_text("at\t<one@example.org>\tada@example.org\nat\t<two@exa")

    assert read_ledger(tmp_path / "ledger") == [("at", "<one@example.org>", "ada@example.org")]


def a_mail(message_id):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "clinic@example.org", "ada@example.org", message_id
    return mail
