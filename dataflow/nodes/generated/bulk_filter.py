"""What BulkUpdate and BulkDelete share: saying which rows by a filter, and the guard against meaning all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from dataflow.errors import ConfirmationRequiredError, InputError, MissingParameterError
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import filter_parameter, whole_number
from dataflow.nodes.generated.bulk_node import BulkNode
from dataflow.nodes.generated.bulk_writer import BulkWriter
from dataflow.nodes.interface import Parameter
from dataflow.queries.filters import Filter

CONFIRMED = Parameter("confirmed", bool, default=False, description="Yes, all rows: the filter may match everything.")


class FilterNode(BulkNode):
    """A bulk node that can be told its rows by ``filter``, or in other ways."""

    def filter_parameter(self, *aliases: str) -> Parameter:
        """The parameter ``filter``; that it is not given is not the same as that it is empty."""
        return replace(filter_parameter(self.binding, *aliases), default=None)

    def limit_parameter(self) -> Parameter:
        """The parameter ``limit``."""
        return Parameter(
            "limit",
            int | None,
            description="Rows at most, lowest ids first; goes with 'filter'.",
            coerce=lambda value: None if value is None else whole_number(self.type, "limit", value),
        )

    def one_way(self, given: Mapping[str, Any], ways: Collection[str]) -> str:
        """Which of these parameters says which rows.

        Raises:
            MissingParameterError: None of them is given.
            InputError: Several are.
        """
        used = [name for name in ways if given.get(name) is not None]
        if not used:
            raise MissingParameterError(
                f"{self.type} needs to know which rows: {', '.join(ways)}.",
                hint="Give one of them; {'filter': {}, 'confirmed': True} means all rows.",
                node_type=self.type,
            )
        if len(used) > 1:
            names = " and ".join(f"'{name}'" for name in used)
            raise InputError(f"{self.type}: {names} both say which rows, give one of them.", node_type=self.type)
        if used[0] != "filter" and given.get("limit") is not None:
            raise InputError(f"{self.type}: 'limit' goes with 'filter', not with '{used[0]}'.", node_type=self.type)
        return used[0]

    async def confirm(self, access: Access, writer: BulkWriter, where: Filter, *, confirmed: bool) -> None:
        """Refuse a filter that matches everything, unless that is what is meant.

        Raises:
            ConfirmationRequiredError: It says how many rows there are.
        """
        if confirmed or not where.is_empty:
            return
        row = await access.fetch_one(writer.plan("bulk count", (), writer.makes.count))
        count = row[0] if row else 0
        raise ConfirmationRequiredError(
            f"{self.type}: the filter matches everything, {count:,} rows.",
            hint="Add confirmed=True if all rows are meant, else narrow the filter.",
            node_type=self.type,
            rows=count,
        )
