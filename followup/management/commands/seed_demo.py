"""manage.py seed_demo: a demo clinic with invented patients at every step of the path."""

import os
import secrets
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from followup import demo


class Command(BaseCommand):
    help = "Make the demo clinic with invented patients up to a step of the path. Only in demo mode; safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        steps = [step.value for step in demo.Step]
        parser.add_argument("--step", choices=steps, default=steps[-1], help="How far along the last patients are.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This makes invented patients and known logins. Set DEMO=1 if that is what you want.")
        call_command("load_reference", verbosity=0)
        demo.complete_products()
        site = demo.found_clinic()
        password = os.environ.get("DEMO_PASSWORD") or secrets.token_urlsafe(12)
        made = demo.demo_logins(site, password=password)
        patients = demo.seed(site, to=demo.Step(options["step"]), at=now())
        self.stdout.write(f"{site}: {patients} patients.")
        for username in made:
            self.stdout.write(f"  login {username}  password {password}")
