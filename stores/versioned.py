"""Optimistic locking: a write must name the version it read."""

from __future__ import annotations

from typing import Any

from django.db import models

from stores.errors import StaleRowError


class Versioned(models.Model):
    """A row that is inserted once and then only changed through :meth:`change`."""

    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row. A save of an existing row would overwrite other writers.

        Raises:
            TypeError: The row exists already.
        """
        if not self._state.adding:
            raise TypeError("change an existing row through change(), not save()")
        super().save(*args, **kwargs)

    def change(self, **fields: object) -> None:
        """Write ``fields`` unless somebody changed the row since it was read.

        Raises:
            StaleRowError: The row has a newer version; read it again.
        """
        fields["version"] = self.version + 1
        current = type(self)._base_manager.filter(pk=self.pk, version=self.version)
        if not current.update(**fields):
            raise StaleRowError(f"{self._meta.verbose_name} {self.pk} is newer than version {self.version}")
        for name, value in fields.items():
            setattr(self, name, value)
