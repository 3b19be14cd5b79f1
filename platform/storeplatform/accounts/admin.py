"""Users and their tokens in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from storeplatform.accounts.models import ApiToken, User

admin.site.register(User, UserAdmin)


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin[ApiToken]):
    """Tokens, by their first characters; revoking is setting ``revoked_at``."""

    list_display = ("hint", "name", "user", "created_at", "last_used_at", "revoked_at")
    list_select_related = ("user",)
    readonly_fields = ("user", "name", "hint", "created_at", "last_used_at")
    exclude = ("digest",)
    search_fields = ("name", "hint", "user__username")

    def has_add_permission(self, _request: object) -> bool:
        """Refuse: a token is made where it can be shown once."""
        return False
