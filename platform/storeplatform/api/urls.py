"""Addresses below ``/api/``."""

from csp.decorators import csp_update
from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView
from rest_framework.permissions import IsAuthenticated

from storeplatform.api import catalogue, errors, stores, tokens

app_name = "api"

# The documentation pages' own scripts are inline; nothing comes from elsewhere.
_relaxed = csp_update(
    {
        "script-src": ["'self'", "'unsafe-inline'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "worker-src": ["'self'", "blob:"],
    }
)
_schema = SpectacularAPIView.as_view(permission_classes=[IsAuthenticated])

urlpatterns = [
    path("v1/stores", stores.StoreList.as_view(), name="stores"),
    path("v1/stores/<uuid:store_id>", stores.StoreDetail.as_view(), name="store"),
    path("v1/stores/<uuid:store_id>/retry", stores.StoreRetry.as_view(), name="store-retry"),
    path("v1/stores/<uuid:store_id>/events", stores.StoreEvents.as_view(), name="store-events"),
    path("v1/stores/<uuid:store_id>/jobs", stores.StoreJobs.as_view(), name="store-jobs"),
    path("v1/stores/<uuid:store_id>/jobs/<uuid:job_id>", stores.StoreJob.as_view(), name="store-job"),
    path("v1/engines", catalogue.EngineList.as_view(), name="engines"),
    path("v1/plans", catalogue.PlanList.as_view(), name="plans"),
    path("v1/auth/token", tokens.Tokens.as_view(), name="token"),
    path("schema/", _schema, name="schema"),
    path("docs/", _relaxed(SpectacularSwaggerView.as_view(url_name="api:schema")), name="docs"),
    path("redoc/", _relaxed(SpectacularRedocView.as_view(url_name="api:schema")), name="redoc"),
    re_path(r"^(?P<rest>.*)$", errors.not_found),
]
