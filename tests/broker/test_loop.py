"""The whole loop on a real Apache Kafka, as `streamrec bench loop` lives through it."""

import pytest

from infra.loop import Plan, close_the_loop, settings_of
from infra.loop.picture import line
from tests.conftest import MakeSettings

pytestmark = [pytest.mark.deep, pytest.mark.long]


@pytest.mark.timeout(420)
def test_drift_in_the_traffic_ends_in_a_new_champion_and_two_alerts_and_a_quiet_day_in_neither(
    apache_kafka: str, redis_url: str, make_settings: MakeSettings
) -> None:
    own, plan = make_settings(), Plan()
    settings = settings_of(apache_kafka, redis_url, own.state, own.namespace, plan)
    found = close_the_loop(settings, plan, lambda moment: print(line(moment)))
    assert found.faults == ()
    assert found.columns == ("item_duration_s",)
    assert len(set(found.versions)) == 2
