"""Addresses of the dashboard."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import RedirectView

from storeplatform.dashboard import (
    audit,
    clusters,
    credentials,
    custom_values,
    logins,
    mismatches,
    parts,
    teams,
    tokens,
    views,
    webhooks,
)
from storeplatform.dashboard.forms import LoginForm

app_name = "dashboard"

urlpatterns = [
    path("", views.store_list, name="stores"),
    path("audit", audit.audit_page, name="audit"),
    path("stores/new", views.store_create, name="create"),
    path("stores/<uuid:store_id>", views.store_page, name="store"),
    path("stores/<uuid:store_id>/retry", views.store_retry, name="retry"),
    path("stores/<uuid:store_id>/cancel", views.store_cancel, name="cancel"),
    path("stores/<uuid:store_id>/delete", views.store_delete, name="delete"),
    path("stores/<uuid:store_id>/credentials", credentials.reveal, name="reveal"),
    path("stores/<uuid:store_id>/credentials/rotate", credentials.rotate, name="rotate"),
    path("stores/<uuid:store_id>/values", custom_values.store_values, name="values"),
    path("clusters", clusters.cluster_list, name="clusters"),
    path("clusters/<int:cluster_id>/switch", clusters.cluster_switch, name="cluster-switch"),
    path("clusters/<int:cluster_id>/kubeconfig", clusters.cluster_kubeconfig, name="cluster-kubeconfig"),
    path("teams", teams.team_list, name="teams"),
    path("teams/<slug:slug>", teams.team_page, name="team"),
    path("teams/<slug:slug>/members", teams.member_add, name="member-add"),
    path("teams/<slug:slug>/members/<str:username>", teams.member_change, name="member-change"),
    path("teams/<slug:slug>/members/<str:username>/remove", teams.member_remove, name="member-remove"),
    path("teams/<slug:slug>/tokens", tokens.team_tokens, name="team-tokens"),
    path("teams/<slug:slug>/tokens/<int:token_id>/revoke", tokens.team_token_revoke, name="team-token-revoke"),
    path("teams/<slug:slug>/webhooks", webhooks.webhook_list, name="webhooks"),
    path("teams/<slug:slug>/webhooks/<int:webhook_id>", webhooks.webhook_page, name="webhook"),
    path("teams/<slug:slug>/webhooks/<int:webhook_id>/rotate", webhooks.webhook_rotate, name="webhook-rotate"),
    path("teams/<slug:slug>/webhooks/<int:webhook_id>/switch", webhooks.webhook_switch, name="webhook-switch"),
    path("teams/<slug:slug>/webhooks/<int:webhook_id>/delete", webhooks.webhook_delete, name="webhook-delete"),
    path("tokens", tokens.personal_tokens, name="tokens"),
    path("tokens/<int:token_id>/revoke", tokens.personal_token_revoke, name="token-revoke"),
    path("parts", parts.part_list, name="parts"),
    path("mismatches", mismatches.mismatch_list, name="mismatches"),
    path("mismatches/look-again", mismatches.mismatch_look_again, name="look-again"),
    path("mismatches/<int:mismatch_id>/repair", mismatches.mismatch_repair, name="repair"),
    path("login/sso", logins.sso_begin, name="sso"),
    path("login/sso/callback", logins.sso_callback, name="sso-callback"),
    path("login/second-factor", logins.second_factor_page, name="second-factor"),
    path(
        "login",
        LoginView.as_view(
            template_name="dashboard/login.html",
            authentication_form=LoginForm,
            redirect_authenticated_user=True,
        ),
        name="login",
    ),
    path("logout", LogoutView.as_view(), name="logout"),
    path("favicon.ico", RedirectView.as_view(url="/static/dashboard/favicon.svg")),
]
