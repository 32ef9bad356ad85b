"""Random models, rows, filters, sorts, aggregates and changes mean the same on three databases and in plain Python."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.integration.meaning.conftest import LONG, Stage
from tests.integration.meaning.tasks import Play, plays

#: Plays of one seed: past its first ten examples Hypothesis varies those it has had, and a new seed finds more.
PLAYS = 10
#: Known seeds, so that a run that nobody watches is the same every time.
SEEDS = range(16)


def seeds() -> Sequence[int]:
    """SEEDS; for the long profile others every time."""
    wanted = os.environ.get("DATAFLOW_MEANING_SEEDS")
    if wanted:
        return [int(number) for number in wanted.split(",")]
    return random.sample(range(10**9), 1_000) if settings.get_current_profile_name() == LONG else SEEDS


@pytest.mark.timeout(600)  # the time that shrinking takes
@pytest.mark.parametrize("number", seeds())
def test_all_databases_mean_the_same(number: int, stage: Stage) -> None:
    @seed(number)
    @settings(max_examples=PLAYS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(plays())
    def differential(play: Play) -> None:
        stage.perform(play)

    differential()
