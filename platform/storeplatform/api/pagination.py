"""Cursor pagination: stable while rows are added, and never a count."""

from rest_framework.pagination import CursorPagination


class StoreCursor(CursorPagination):
    """Newest first, or as ``ordering`` says; the id breaks ties."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100
    ordering: tuple[str, ...] = ("-created_at", "-id")


class EventCursor(CursorPagination):
    """Newest first."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = ("-at", "-id")


class JobCursor(StoreCursor):
    """Newest first."""

    ordering = ("-created_at", "-id")
