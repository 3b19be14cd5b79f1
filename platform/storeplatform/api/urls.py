"""Addresses below ``/api/``."""

from csp.decorators import csp_update
from django.contrib.auth.decorators import login_required
from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import IsAuthenticated

from storeplatform.api import audit, catalogue, clusters, credentials, errors, probes, stores, teams, tokens, webhooks

app_name = "api"

# The documentation sets styles of its own; its scripts are files like all others, and nothing comes from elsewhere.
_styled = csp_update({"style-src": ["'self'", "'unsafe-inline'"]})
_docs = SpectacularSwaggerSplitView.as_view(url_name="api:schema")
_schema = SpectacularAPIView.as_view(permission_classes=[IsAuthenticated])

urlpatterns = [
    path("v1/stores", stores.StoreList.as_view(), name="stores"),
    path("v1/stores/<uuid:store_id>", stores.StoreDetail.as_view(), name="store"),
    path("v1/stores/<uuid:store_id>/retry", stores.StoreRetry.as_view(), name="store-retry"),
    path("v1/stores/<uuid:store_id>/cancel", stores.StoreCancel.as_view(), name="store-cancel"),
    path("v1/stores/<uuid:store_id>/events", stores.StoreEvents.as_view(), name="store-events"),
    path("v1/stores/<uuid:store_id>/jobs", stores.StoreJobs.as_view(), name="store-jobs"),
    path("v1/stores/<uuid:store_id>/jobs/<uuid:job_id>", stores.StoreJob.as_view(), name="store-job"),
    path(
        "v1/stores/<uuid:store_id>/credentials/reveal",
        credentials.StoreCredentialsReveal.as_view(),
        name="store-credentials-reveal",
    ),
    path(
        "v1/stores/<uuid:store_id>/credentials/rotate",
        credentials.StoreCredentialsRotate.as_view(),
        name="store-credentials-rotate",
    ),
    path("v1/stores/<uuid:store_id>/probes", probes.StoreProbes.as_view(), name="store-probes"),
    path("v1/audit", audit.AuditEntryList.as_view(), name="audit"),
    path("v1/teams", teams.TeamList.as_view(), name="teams"),
    path("v1/teams/<slug:slug>", teams.TeamDetail.as_view(), name="team"),
    path("v1/teams/<slug:slug>/quota", teams.TeamQuota.as_view(), name="team-quota"),
    path("v1/teams/<slug:slug>/members", teams.MemberList.as_view(), name="members"),
    path("v1/teams/<slug:slug>/members/<str:username>", teams.MemberDetail.as_view(), name="member"),
    path("v1/clusters", clusters.ClusterList.as_view(), name="clusters"),
    path("v1/clusters/<slug:cluster>", clusters.ClusterDetail.as_view(), name="cluster"),
    path("v1/engines", catalogue.EngineList.as_view(), name="engines"),
    path("v1/plans", catalogue.PlanList.as_view(), name="plans"),
    path("v1/teams/<slug:slug>/tokens", tokens.TeamTokens.as_view(), name="team-tokens"),
    path("v1/teams/<slug:slug>/tokens/<int:token_id>", tokens.TeamToken.as_view(), name="team-token"),
    path("v1/teams/<slug:slug>/webhooks", webhooks.WebhookList.as_view(), name="webhooks"),
    path("v1/teams/<slug:slug>/webhooks/<int:webhook_id>", webhooks.WebhookDetail.as_view(), name="webhook"),
    path(
        "v1/teams/<slug:slug>/webhooks/<int:webhook_id>/rotate", webhooks.WebhookRotate.as_view(), name="webhook-rotate"
    ),
    path(
        "v1/teams/<slug:slug>/webhooks/<int:webhook_id>/deliveries", webhooks.DeliveryList.as_view(), name="deliveries"
    ),
    path("v1/auth/token", tokens.Login.as_view(), name="token"),
    path("v1/auth/tokens", tokens.PersonalTokens.as_view(), name="tokens"),
    path("v1/auth/tokens/<int:token_id>", tokens.PersonalToken.as_view(), name="personal-token"),
    path("schema/", _schema, name="schema"),
    path("docs/", _styled(login_required(_docs)), name="docs"),
    re_path(r"^(?P<rest>[\s\S]*)$", errors.not_found),
]
