"""Every address of the platform."""

from django.contrib import admin
from django.urls import include, path

from storeplatform.observability.views import Metrics

urlpatterns = [
    path("", include("storeplatform.health.urls")),
    path("metrics", Metrics.as_view(), name="metrics"),
    path("api/", include("storeplatform.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("storeplatform.dashboard.urls")),
]
