"""Models with features of their own, for tests of nodes that must not forget them."""

from __future__ import annotations


class Secret:
    __dataflow__ = {"multi_tenant": True, "soft_delete": True}  # noqa: RUF012

    name: str


class Walled:
    __dataflow__ = {"multi_tenant": True, "row_level_security": True}  # noqa: RUF012

    name: str
