"""A short soak on a real Redis: a fixed population takes a fixed room, and that is the sweep's doing."""

from pathlib import Path

import pytest

from infra.benchmarks.soak import Plan, Soak, soak_in_process
from infra.redis_server import RedisServer
from tests.conftest import MakeSettings

pytestmark = pytest.mark.deep

PLAN = Plan(events=50_000, days=180.0, users=24, items=60)


@pytest.mark.parametrize("sweeps", [True, False])
def test_redis_stays_as_large_as_it_is_only_while_it_is_swept(
    sweeps: bool, tmp_path: Path, make_settings: MakeSettings
) -> None:
    with RedisServer(tmp_path / "redis", options={"appendonly": "no"}) as url:
        found: Soak = soak_in_process(make_settings(redis=url), PLAN, sweeps)
    keys = [point.keys for point in found.points]
    print(f"\nrise {found.redis.rise:+.1%}, keys {keys[len(keys) // 2]:,} midway, {keys[-1]:,} at the end")
    assert found.is_flat == sweeps
    assert found.points[-1].events == PLAN.events
