"""Addresses of the dashboard."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import RedirectView

from storeplatform.dashboard import views
from storeplatform.dashboard.forms import LoginForm

app_name = "dashboard"

urlpatterns = [
    path("", views.store_list, name="stores"),
    path("stores/new", views.store_create, name="create"),
    path("stores/<uuid:store_id>", views.store_page, name="store"),
    path("stores/<uuid:store_id>/retry", views.store_retry, name="retry"),
    path("stores/<uuid:store_id>/delete", views.store_delete, name="delete"),
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
