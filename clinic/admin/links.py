"""Secret links and machine tokens: shown once or on demand, rotated, revoked."""

from django.contrib import admin
from django.db import transaction

from clinic import links
from clinic.admin import show
from clinic.admin.pages import VisibleRelatedFilter
from clinic.admin.steps import StepAction, StepAdmin
from clinic.desk import LETTERS
from clinic.models import ApiToken, Link


def rotate(link, *, by, at):
    return links.rotate(link)


def revoke(link, *, by, at):
    links.revoke(link, at=at)
    return link


@transaction.atomic
def revoke_token(token, *, by, at):
    ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=at)
    return token


def live(row) -> bool:
    return row.revoked_at is None


@admin.register(Link)
class LinkAdmin(StepAdmin):
    section, place = LETTERS, 20
    called = "Secret links"
    question = "Which secret links are out?"
    empty = "None yet. A survey's link is made with its first e-mail; a calendar's on the page of its room or person."
    list_display = ("purpose", "opens", "made", "expires", "works")
    list_filter = ("purpose", ("site", VisibleRelatedFilter))
    list_select_related = ("site",)
    shows_next = False
    ordering = ("-created_at", "pk")
    fieldsets = ((None, {"fields": ("purpose", "opens", "site", "made", "expires", "works")}),)
    readonly_fields = ("opens", "made", "expires", "works")
    steps = (
        StepAction(
            name="rotate",
            label="Make a new address",
            take=rotate,
            consequence="The old address stops working at once. Whoever uses it needs the new one from you.",
            done="There is a new address; the old one no longer works. Give the new one to whoever uses it.",
            destructive=True,
        ),
        StepAction(
            name="revoke",
            label="Revoke",
            take=revoke,
            available=live,
            consequence='The address stops working at once. To undo: "Make a new address".',
            done="The address no longer works.",
            destructive=True,
        ),
    )

    @admin.display(description="Opens")
    def opens(self, link):
        return link.about.rpartition(".")[2].replace("FollowUpEvent", "survey").lower()

    @admin.display(description="Made", ordering="created_at")
    def made(self, link):
        return show.when(link.created_at, link.site.zone)

    @admin.display(description="Ends", ordering="expires_at")
    def expires(self, link):
        return show.when(link.expires_at, link.site.zone) if link.expires_at else "never"

    @admin.display(description="State")
    def works(self, link):
        return working(link)


@admin.register(ApiToken)
class ApiTokenAdmin(StepAdmin):
    section, place = LETTERS, 30
    called = "API tokens"
    question = "Which systems may use the API?"
    empty = "None. A token is made on the server with: manage.py create_api_token."
    list_display = ("name", "site", "may_write", "made", "expires", "works")
    list_filter = (("site", VisibleRelatedFilter),)
    list_select_related = ("site",)
    shows_next = False
    ordering = ("name", "pk")
    fieldsets = ((None, {"fields": ("name", "site", "may_write", "made", "expires", "works")}),)
    readonly_fields = ("made", "expires", "works")
    steps = (
        StepAction(
            name="revoke",
            label="Revoke",
            take=revoke_token,
            available=live,
            consequence="The system that uses this token can no longer read or write anything. This cannot be undone; "
            "a new token is made on the server.",
            done=lambda token: f"{token} can no longer use the API.",
            destructive=True,
        ),
    )

    @admin.display(description="Made", ordering="created_at")
    def made(self, token):
        return show.when(token.created_at, token.site.zone)

    @admin.display(description="Ends", ordering="expires_at")
    def expires(self, token):
        return show.when(token.expires_at, token.site.zone)

    @admin.display(description="State")
    def works(self, token):
        return working(token)


def working(row):
    return show.badge("failed", "revoked") if row.revoked_at else show.badge("active", "works")
