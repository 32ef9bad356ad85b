"""Breakers: the circuit breakers of one application, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.errors import ConfigurationError
from dataflow.resilience.breaker import CircuitBreaker
from dataflow.resilience.circuit import BreakerStore, CircuitBreakerConfig


class Breakers(Mapping[str, CircuitBreaker]):
    """Name → breaker. Each is made once.

    Args:
        store: What shared ones meet in; None where the application has none.
    """

    def __init__(self, store: BreakerStore | None = None) -> None:
        self._store = store
        self._breakers: dict[str, CircuitBreaker] = {}

    def __getitem__(self, name: str) -> CircuitBreaker:
        return self._breakers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._breakers))

    def __len__(self) -> int:
        return len(self._breakers)

    def provide(
        self,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        shared: bool = False,
        failures: tuple[type[Exception], ...] = (Exception,),
    ) -> CircuitBreaker:
        """The breaker of that name, made with these options if it is new; later calls need not repeat them.

        Raises:
            ConfigurationError: It is there with another config, or is to be shared and there is nothing to share it by.
        """
        known = self._breakers.get(name)
        if known is not None:
            if config not in (None, known.config):
                raise ConfigurationError(f"The breaker {name!r} is there already, with {known.config}.")
            return known
        if shared and self._store is None:
            raise ConfigurationError(
                f"The breaker {name!r} cannot be shared without a broker.", hint="Set REDIS_URL, or shared=False."
            )
        store = self._store if shared else None
        made = self._breakers[name] = CircuitBreaker(config, name=name, failures=failures, store=store)
        return made
