"""Who is calling, what they may see, and what they may do."""

from django.conf import settings
from django.db import models
from django.utils.timezone import now
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from clinic import links
from clinic.models import ApiToken


class Machine:
    """Stands where a user stands when a system calls with a token: no staff, no permissions, one site."""

    is_authenticated = is_active = True
    is_anonymous = is_staff = is_superuser = False

    def __init__(self, token: ApiToken) -> None:
        self.pk = f"token-{token.pk}"  # what the throttle counts by
        self.username = f"api:{token.name}"  # no login can hold a colon, so the trail cannot mistake one for the other

    def get_username(self) -> str:
        return self.username

    def has_perm(self, _permission: str) -> bool:
        return False


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN`, a token from `manage.py create_api_token`."""

    def authenticate(self, request: Request) -> tuple[Machine, ApiToken] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = links.find_token(secret.strip(), at=now())
        if token is None:
            raise exceptions.AuthenticationFailed(
                "This token is unknown, expired or revoked. Ask the clinic for another."
            )
        return Machine(token), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Pulposus"'


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "clinic.api.callers.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A machine client's key: one site, and it expires."}


class StaffOrToken(BasePermission):
    """Staff may do here what their role lets them do at the desk. A token may read its site and, if it `may_write`,
    take steps there, but never those a person answers for (`people_only` of the view)."""

    def has_permission(self, request: Request, view: object) -> bool:
        doing = getattr(view, "action", None)
        if isinstance(request.auth, ApiToken):
            writes = request.auth.may_write and doing not in getattr(view, "people_only", ())
            return request.method in SAFE_METHODS or writes
        user = request.user
        if not (user.is_authenticated and user.is_active and user.is_staff):
            return False
        needed = self.needed(request.method, view, doing)
        return not needed or user.has_perm(needed)

    def needed(self, method: str, view: object, doing: str | None) -> str:
        """The model permission this takes: what the view `needs` for it by name, else view, add or change."""
        named = getattr(view, "needs", {})
        if doing in named:
            return named[doing]
        queryset = getattr(view, "queryset", None)
        if queryset is None:
            return ""
        verb = "view" if method in SAFE_METHODS else "add" if doing == "create" else "change"
        return f"{queryset.model._meta.app_label}.{verb}_{queryset.model._meta.model_name}"


class MayReadTheSchema(StaffOrToken):
    """What can be asked is for those who may ask; the demo shows it to everybody."""

    def has_permission(self, request: Request, view: object) -> bool:
        return settings.DEMO or super().has_permission(request, view)


def seen_by(request: Request, rows: models.QuerySet) -> models.QuerySet:
    """The rows of the caller's own sites. What belongs to no site (protocols, instruments) everybody inside may see."""
    path = getattr(rows.model, "SITE_PATH", None)
    if path is None:
        return rows
    if isinstance(request.auth, ApiToken):
        return rows.filter(**{path or "pk": request.auth.site_id})
    return rows.visible_to(request.user)


def name_of(request: Request) -> str:
    """Who the trail says it was."""
    return request.user.get_username()
