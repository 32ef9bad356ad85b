"""PoolManager: the name by which the guides ask for pool metrics."""

from __future__ import annotations

from dataflow.databases.interface import Database, PoolMetrics
from dataflow.databases.url import mask, parse_url
from dataflow.errors import ConfigurationError


class PoolManager:
    """The old name of :meth:`DataFlow.pool_metrics`: ``db._pool_manager.get_pool_metrics(url)``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get_pool_metrics(self, url: str) -> PoolMetrics:
        """State of the instance's pool; see :class:`PoolMetrics`.

        Args:
            url: The instance's database URL; its password may be masked or left out.

        Raises:
            ConfigurationError: It is another database's, or none.
        """
        masked = self._database.masked_url
        if parse_url(url).masked.replace(":***@", "@") != masked.replace(":***@", "@"):
            raise ConfigurationError(f"{mask(url)!r} is not this instance's database.", hint=f"That is {masked}.")
        return self._database.pool_metrics()
