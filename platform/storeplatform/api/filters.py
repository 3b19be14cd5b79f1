"""Filters of the list of stores. A value that cannot be used is refused, never ignored."""

from __future__ import annotations

import django_filters
from django.db.models import Q
from rest_framework.exceptions import ValidationError

from stores.models import Store, StoreQuerySet, StoreStatus


class StoreFilter(django_filters.FilterSet):  # type: ignore[misc] # the library has no types
    """``status`` (repeatable), ``engine``, ``plan``, ``team``, ``name``, ``q``, ``created_after`` and ``…_before``."""

    status = django_filters.MultipleChoiceFilter(choices=StoreStatus.choices)
    engine = django_filters.CharFilter()
    plan = django_filters.CharFilter(field_name="plan_id")
    team = django_filters.CharFilter(field_name="team__slug")
    name = django_filters.CharFilter()
    q = django_filters.CharFilter(method="search", label="Text in name, display name or domain")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Store
        fields: tuple[str, ...] = ()

    def search(self, stores: StoreQuerySet, _name: str, text: str) -> StoreQuerySet:
        """Return the stores that hold ``text``."""
        return stores.filter(Q(name__icontains=text) | Q(display_name__icontains=text) | Q(domain__icontains=text))


#: What ``ordering`` may be, each with the id as the breaker of ties.
ORDERINGS = {
    name: (name, "-id" if name.startswith("-") else "id")
    for name in ("created_at", "-created_at", "name", "-name", "status", "-status")
}


def ordering_of(wanted: str) -> tuple[str, ...]:
    """Return the columns of an ``ordering``.

    Raises:
        ValidationError: There is no such ordering.
    """
    try:
        return ORDERINGS[wanted]
    except KeyError:
        raise ValidationError({"ordering": [f"Use one of {', '.join(ORDERINGS)}."]}) from None
