"""The random plays are worth their time: they reach every node, and most of what they ask has an answer that tells."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.integration.meaning.coercion import Refused, Undecided
from tests.integration.meaning.oracle import Oracle
from tests.integration.meaning.tasks import Play, plays
from tests.integration.meaning.test_meaning import PLAYS, SEEDS


def test_plays_reach_every_node() -> None:
    seen: Counter[str] = Counter()

    def perform(play: Play) -> None:
        oracle = Oracle(play.model)
        for step in play.steps:
            seen["steps"] += 1
            try:
                result = oracle.run(step.operation, step.inputs)
            except Undecided:
                seen["undecided"] += 1
            except Refused:
                seen["refused"] += 1
            else:
                # A row's own fields may be called so too.
                changed = _COUNTS & result.keys() if step.operation not in ("Create", "Read") else ()
                seen[step.operation] += any(result[name] for name in changed) if changed else 1
                if step.operation == "List" and "records" in result:
                    seen["pages"] += 1
                    seen["part of the rows"] += 0 < len(result["records"]) < len(oracle.rows)

    for number in SEEDS:
        run = seed(number)(settings(max_examples=PLAYS, **_SETTINGS)(given(plays())(perform)))
        run()
    assert seen["undecided"] < seen["steps"] / 50
    assert seen["refused"] < seen["steps"] / 3
    assert seen["part of the rows"] > seen["pages"] / 8
    for operation in Oracle.OPERATIONS:
        assert seen[operation] >= 8, seen


_COUNTS = {"updated", "deleted", "created", "inserted", "skipped"}
_SETTINGS = {
    "deadline": None,
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
