"""Every address of the platform."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("storeplatform.health.urls")),
    path("api/", include("storeplatform.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("storeplatform.dashboard.urls")),
]
