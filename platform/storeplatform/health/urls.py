"""Addresses for probes."""

from django.urls import path

from storeplatform.health import views

urlpatterns = [path("health", views.health), path("ready", views.ready)]
