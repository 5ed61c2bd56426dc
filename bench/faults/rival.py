"""What a clinic would write without an outbox: every reminder handed to Celery when the visit is booked, with the time
at which it is due (`apply_async(eta=...)`), tried again when something fails, and acknowledged late."""

import os
import smtplib
from email.message import EmailMessage

import psycopg
from celery import Celery

app = Celery("rival", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="rival",
    task_ignore_result=True,
    task_acks_late=True,  # as Celery's own guide asks of what must not be lost with a worker
    broker_connection_retry_on_startup=True,
    # The visibility timeout stays at its hour: a shorter one than the longest eta would send everything again.
)


@app.task(name="rival.remind", autoretry_for=(Exception,), retry_backoff=2, retry_backoff_max=30, max_retries=10)
def remind(to: str, message_id: str) -> None:
    """Ask whether it is still wanted, and send it."""
    with psycopg.connect(os.environ["RIVAL_DATABASE"], connect_timeout=4) as connection:
        if connection.execute("SELECT 1 FROM ended WHERE patient = %s", [to]).fetchone():
            return
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "clinic@example.org", to, "reminder"
    mail["Message-ID"] = message_id
    mail.set_content("Your appointment is near.\n")
    with smtplib.SMTP("127.0.0.1", int(os.environ["RIVAL_MAIL_PORT"]), timeout=4) as relay:
        relay.send_message(mail)
