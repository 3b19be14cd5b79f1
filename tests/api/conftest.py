"""Callers of the API."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient
from storeplatform.accounts.models import User

from provisioning.models import Cluster
from tests.factories import make_cluster, make_user


@pytest.fixture
def merchant(db: None) -> User:
    """A user who owns what the test makes."""
    return make_user()


@pytest.fixture
def api(merchant: User) -> APIClient:
    """The merchant's client."""
    client = APIClient()
    client.force_authenticate(merchant)
    return client


@pytest.fixture
def some_cluster(db: None) -> Cluster:
    """A cluster that takes stores; nothing answers there."""
    return make_cluster()
