"""Cursor pagination: stable while rows are added, and never a count."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination


class _Cursor(CursorPagination):
    """A cursor that somebody made up leads nowhere."""

    def paginate_queryset(self, *args: Any, **kwargs: Any) -> list[Any] | None:
        """Return one page.

        Raises:
            NotFound: The cursor's position is none.
        """
        try:
            return super().paginate_queryset(*args, **kwargs)
        except (ValidationError, ValueError, OverflowError, DataError) as error:
            raise NotFound(self.invalid_cursor_message) from error


class StoreCursor(_Cursor):
    """Newest first, or as ``ordering`` says; the id breaks ties."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100
    ordering: tuple[str, ...] = ("-created_at", "-id")


class EventCursor(_Cursor):
    """Newest first."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = ("-at", "-id")


class JobCursor(StoreCursor):
    """Newest first."""

    ordering = ("-created_at", "-id")


class DeliveryCursor(StoreCursor):
    """Newest first."""

    ordering = ("-created_at", "-id")
