"""Versions and transitions, as the database enforces them."""

from itertools import product

import pytest
from django.db import transaction
from django.db.utils import DatabaseError

from stores.errors import InvalidTransitionError, StaleRowError
from stores.models import TRANSITIONS, Store, StoreStatus
from tests.conftest import NOON
from tests.factories import make_store

pytestmark = pytest.mark.django_db


def test_a_move_fails_when_someone_else_moved_first() -> None:
    mine = make_store(status=StoreStatus.READY)
    theirs = Store.objects.get(pk=mine.pk)
    theirs.move_to(StoreStatus.DELETING, at=NOON)

    with pytest.raises(StaleRowError):
        mine.move_to(StoreStatus.UPDATING, at=NOON)

    assert Store.objects.get(pk=mine.pk).status == StoreStatus.DELETING


def test_an_existing_row_cannot_be_saved_over() -> None:
    store = make_store()

    with pytest.raises(TypeError):
        store.save()


@pytest.mark.parametrize(
    ("before", "after"), [pair for pair in product(StoreStatus, StoreStatus) if pair[0] != pair[1]]
)
def test_only_listed_transitions_happen_in_code_and_in_the_database(before: StoreStatus, after: StoreStatus) -> None:
    store = make_store(status=before)
    row = Store.objects.filter(pk=store.pk)

    if after in TRANSITIONS[before]:
        store.move_to(after, at=NOON)
        assert row.get().status == after
    else:
        with pytest.raises(InvalidTransitionError):
            store.move_to(after, at=NOON)
        with pytest.raises(DatabaseError), transaction.atomic():
            row.update(status=after)
        assert row.get().status == before
