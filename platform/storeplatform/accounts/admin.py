"""Users and their tokens in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from storeplatform.accounts import tokens
from storeplatform.accounts.models import ApiToken, AuthenticatorApp, User
from storeplatform.actors import actor_of
from stores.admin import ReadOnlyAdmin


@admin.register(User)
class PlatformUserAdmin(UserAdmin[User]):
    """Users; emptying ``locked_until`` unlocks one."""

    list_display = ("username", "email", "is_staff", "is_active", "is_service", "locked_until", "last_login")
    list_filter = ("is_staff", "is_active", "is_service")
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Lock", {"fields": ("locked_until",)}))


# Its forms would keep keys in clear.
admin.site.unregister(TOTPDevice)


@admin.register(AuthenticatorApp)
class AuthenticatorAppAdmin(ReadOnlyAdmin):
    """Who has a second factor; ``manage.py totp reset`` forgets one."""

    list_display = ("user", "name", "confirmed", "created_at", "last_used_at")
    list_select_related = ("user",)
    exclude = ("key", "sealed_key")
    search_fields = ("user__username",)
    ordering = ("user__username",)


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens, by their first characters; what may be done to them is the action."""

    list_display = ("hint", "name", "user", "team", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_select_related = ("user", "team")
    exclude = ("digest",)
    search_fields = ("name", "hint", "user__username", "team__slug")
    ordering = ("-pk",)
    actions = ("revoke",)

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiToken]) -> None:
        """Make the chosen tokens useless."""
        for token in chosen:
            tokens.revoke(token=token, actor=actor_of(request), now=timezone.now())
