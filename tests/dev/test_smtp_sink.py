"""The mail server that keeps everything and delivers nothing."""

import smtplib
from email import message_from_bytes, policy
from email.message import EmailMessage

from dev.smtp_sink import running_sink


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
