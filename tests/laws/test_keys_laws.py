"""What one command or script touches lies in one slot, whatever the ids."""

import string

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from streams.facts.documents import DOCUMENTS
from streams.features import Scope
from streams.store.flights import tag_of_key
from streams.store.keys import Keys, tag_of, user_tag

ids = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=128)
namespaces = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=64)
users_rows = st.sampled_from([Scope.USER, Scope.USER_CATEGORY])


def slot(key: str) -> int:
    return int(key_slot(key.encode()))


@given(namespaces, ids, ids, st.sampled_from(Scope))
def test_our_tag_of_a_key_is_the_part_that_redis_hashes(
    namespace: str, name: str, category: str, scope: Scope
) -> None:
    keys = Keys(namespace)
    for key in (
        keys.row(scope, f"{name}/{category}" if scope is Scope.USER_CATEGORY else name),
        keys.document("seen", name),
        keys.fence(user_tag(name)),
        keys.reply(name),
        keys.blob(name),
        keys.progress(name),
    ):
        assert slot(key) == slot(tag_of_key(key))


@given(namespaces, ids, ids, users_rows)
def test_all_that_a_script_writes_for_a_user_lies_in_one_slot(
    namespace: str, user: str, category: str, scope: Scope
) -> None:
    keys = Keys(namespace)
    name = f"{user}/{category}" if scope is Scope.USER_CATEGORY else user
    assert tag_of(scope, name) == user_tag(user)
    mine = [keys.fence(user_tag(user)), keys.row(scope, name)]
    assert (
        keys.rows_of(user_tag(user), [(scope, name)]) == keys.rows(scope, [name]) == [keys.row(scope, name)]
    )
    mine += [keys.document(kind, user) for kind in DOCUMENTS]
    assert len({slot(key) for key in mine}) == 1
