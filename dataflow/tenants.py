"""Tenants: whose rows a run is about."""

from __future__ import annotations

from typing import Any

from dataflow.errors import TenantError, TypeMismatchError

#: Characters of a tenant's name; it is part of every key of a multi-tenant table.
TENANT_CHARACTERS = 64


def checked_tenant(tenant_id: Any) -> str:
    """A tenant's name.

    Raises:
        TypeMismatchError: It is not text, is empty or longer than TENANT_CHARACTERS, or holds what a database cannot
            store: NUL or a lone surrogate.
    """
    if isinstance(tenant_id, str) and 0 < len(tenant_id) <= TENANT_CHARACTERS and _is_storable(tenant_id):
        return tenant_id
    raise TypeMismatchError(
        f"tenant_id is text of 1 to {TENANT_CHARACTERS} characters, got {tenant_id!r}.", parameter="tenant_id"
    )


def no_tenant() -> TenantError:
    """The error for a run that does not say whose rows it is about."""
    return TenantError(
        "The rows of a multi-tenant model belong to a tenant, and this run names none.",
        hint="Run the workflow with tenant_id='…', or give the node the parameter tenant_id.",
    )


def _is_storable(text: str) -> bool:
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False
