"""The settings' environment variables, as the set-up room hands them to the service."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path


def throwaway() -> dict[str, str]:
    """For tests and one-off commands. Whatever the caller has set already stays."""
    settings = {
        "DEMO": "1",  # the placeholder wording of licensed instruments may be asked: nobody is there to read it
        "DEBUG": "0",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "LINK_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
        "BASE_URL": "http://127.0.0.1:8000",
        "EMAIL_URL": "memorymail://",
        "DEFAULT_FROM_EMAIL": "Clinic <clinic@example.org>",
    }
    return {key: os.environ.get(key, value) for key, value in settings.items()}


def demo(*, port: int, mail_port: int, folder: Path) -> dict[str, str]:
    """For the demo clinic: production's settings, but on plain http on this machine and with an inbox page."""
    kept = kept_secrets(folder / "secrets.json")
    return {
        "DEMO": "1",
        "DEBUG": os.environ.get("DEBUG", "0"),
        "SECRET_KEY": kept["SECRET_KEY"],
        "LINK_KEY": kept["LINK_KEY"],
        "DEMO_PASSWORD": os.environ.get("DEMO_PASSWORD") or kept["DEMO_PASSWORD"],
        "DEMO_MAILDIR": str(folder / "mail"),
        "EMAIL_URL": f"smtp://127.0.0.1:{mail_port}",
        "DELIVERY_LEDGER": "clinic.ledger.SinkLedger",
        "SINK_LEDGER": str(folder / "mail.ledger"),
        "DEFAULT_FROM_EMAIL": "Demo clinic <clinic@example.org>",
        "BASE_URL": f"http://127.0.0.1:{port}",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "CSRF_TRUSTED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
    }


def production() -> dict[str, str]:
    """What `check --deploy` is run with: every variable a real clinic sets, with an example's values."""
    return {
        "DEMO": "0",
        "DEBUG": "0",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "LINK_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": "clinic.example.org",
        "BASE_URL": "https://clinic.example.org",
        "CSRF_TRUSTED_ORIGINS": "https://clinic.example.org",
        "SECURE_PROXY": "1",
        "EMAIL_URL": "smtp+tls://clinic:password@mail.example.org:587",
        "DEFAULT_FROM_EMAIL": "Clinic <clinic@example.org>",
        "LOG_LEVEL": "INFO",
    }


def kept_secrets(file: Path) -> dict[str, str]:
    """Made once, so that a session, a link in an old e-mail and the login survive a restart of the demo."""
    if not file.exists():
        fresh = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "LINK_KEY")}
        fresh["DEMO_PASSWORD"] = "-".join(secrets.token_hex(2) for _ in range(3))
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            json.dump(fresh, out, indent=1)
    return dict(json.loads(file.read_text()))
