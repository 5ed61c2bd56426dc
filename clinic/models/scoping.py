"""Which rows a member of staff may see: every model that belongs to a site says by which path (`SITE_PATH`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser


class SiteQuerySet(models.QuerySet[Any]):
    """A queryset that knows how to keep one site's rows from another site's staff."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> SiteQuerySet:
        """The rows of the sites `user` works at; all of them for a superuser, none for anybody else."""
        if getattr(user, "is_superuser", False):
            return self
        path = self.model.SITE_PATH
        return self.filter(**{f"{path}__staff__user_id" if path else "staff__user_id": user.pk})
