"""What the limits make of a log of real people: all of it is taken for honest."""

from collections import Counter

from infra.attacks.trial import People, flags
from infra.formats import Log
from streams.codec import decode
from streams.events import EVENT_TOPICS, MAX_MS, TOPICS

__all__ = ["try_people"]

_NAMES = {topic.name for topic in EVENT_TOPICS}


def try_people(log: Log) -> People:
    """Judges every event of a log, in the order in which it stands there."""
    events = [
        event
        for entry in log.events
        if entry.topic in _NAMES
        for event in decode(TOPICS[entry.topic], entry.key, entry.value, MAX_MS).records
    ]
    found = [(event.user_id, reason) for event, reason in zip(events, flags(events), strict=True)]
    flagged = [(user_id, reason) for user_id, reason in found if reason is not None]
    return People(
        log=log.name,
        events=len(events),
        users=len({user_id for user_id, _ in found}),
        flagged=len(flagged),
        users_flagged=len({user_id for user_id, _ in flagged}),
        by_reason={str(why): n for why, n in Counter(why for _, why in flagged).most_common()},
    )
