"""`streamrec rank` against a running scorer, as a person would call it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from models.serving.requests.precomputed import kept
from models.serving.trace import read_trace
from streams.events import EXAMPLES, Labels
from streams.kafka import Publisher
from streams.settings import Settings
from streams.store.connect import connect
from tests.asking import crown, pair_version, running_scorer, stock
from tests.build import make_example
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared(embedded_kafka, redis_url, tmp_path_factory) -> Iterator[Settings]:
    """Settings of a running scorer without a model."""
    state = tmp_path_factory.mktemp("state")
    made = Settings(
        kafka=embedded_kafka, redis=redis_url, namespace="command", topic_prefix="command.", state=state
    )
    stock(made)
    with running_scorer(made):
        yield made


def rank(settings: Settings, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    return streamrec(settings, "rank", *arguments, **changed)


def streamrec(settings: Settings, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    own = {
        "STREAMREC_KAFKA": settings.kafka,
        "STREAMREC_REDIS": str(settings.redis),
        "STREAMREC_NAMESPACE": settings.namespace,
        "STREAMREC_TOPIC_PREFIX": settings.topic_prefix,
        "STREAMREC_STATE": str(settings.state),
        "COLUMNS": "140",
    }
    command = [sys.executable, "-m", "infra.cli", *arguments]
    return subprocess.run(
        command, env=os.environ | own | changed, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_it_prints_the_slate_with_titles_sources_and_stages(shared):
    done = rank(shared, "--user", "u1", "--limit", "3", "--timeout-ms", "20000")
    assert done.returncode == 0, done.stderr
    for expected in (
        "slate for u1",
        "source",
        "c0 · m0",
        "popular: no model in use",
        "features",
        "there and back",
    ):
        assert expected in done.stdout


def test_it_prints_the_reply_as_json_and_ranks_the_candidates_given(shared):
    done = rank(shared, "--user", "u1", "--candidates", "i03, nobody,i11", "--json", "--timeout-ms", "20000")
    reply = json.loads(done.stdout)
    assert {item["item_id"] for item in reply["items"]} == {"i03", "nobody", "i11"}
    assert {item["source"] for item in reply["items"]} == {"request"}


def test_a_slate_is_explained_by_its_request_for_a_while(shared):
    done = rank(shared, "--user", "u1", "--limit", "3", "--json", "--timeout-ms", "20000")
    reply = json.loads(done.stdout)
    with closing(connect(shared)) as store:
        eventually(lambda: read_trace(store, reply["request_id"]), 20.0, "a trace")
    done = streamrec(shared, "explain", reply["request_id"], "--rows", "5")
    assert done.returncode == 0, done.stderr
    for expected in (
        f"{reply['request_id']} of u1: 30 candidates",
        reply["items"][0]["item_id"],
        "and 25 more",
    ):
        assert expected in done.stdout
    done = streamrec(shared, "explain", "never-asked")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)


def test_an_experiment_is_shown_from_what_was_labelled(shared, tmp_path):
    path = tmp_path / "experiments.toml"
    arms = "arms = {control = {share = 0.5}, other = {share = 0.5, settings = {exploration = 0.3}}}"
    path.write_text(f"[[experiment]]\nname = 'e'\n{arms}")
    with Publisher(shared) as publisher:
        for n in range(240):
            arm = ("control", "other")[n % 2]
            labels = Labels(click=arm == "other" or n % 4 == 0, hide=False)
            ids = {"example_id": f"r{n}:i1", "request_id": f"r{n}", "user_id": f"u{n}"}
            publisher.send(EXAMPLES, make_example(**ids, labels=labels, variants={"ranking": f"e/{arm}"}))
        publisher.flush()
    done = streamrec(shared, "experiments", "show", "e", STREAMREC_EXPERIMENTS=str(path))
    assert done.returncode == 0, done.stderr
    assert "users are split as declared" in done.stdout
    assert "other: 120 users: ctr is better (+" in done.stdout
    done = streamrec(shared, "experiments", "assign", "u1", "--json", STREAMREC_EXPERIMENTS=str(path))
    (found,) = json.loads(done.stdout)
    assert found["arm"] in ("control", "other")
    done = streamrec(shared, "experiments", "show", "f", STREAMREC_EXPERIMENTS=str(path))
    assert (done.returncode, done.stderr.strip()) == (2, "streamrec: experiments: f is not declared: e")


def test_precomputed_slates_are_made_by_the_champion_once(settings, embedded_kafka, redis_url, tmp_path):
    own = settings(kafka=embedded_kafka, redis=redis_url)
    stock(own)
    users = tmp_path / "users"
    users.write_text("u1\nu2\nu2\n")
    asked = ("precompute", "--users", str(users), "--limit", "5", "--json")
    done = streamrec(own, *asked)
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (
        1,
        "streamrec: precompute: there is no model yet that can serve",
    )
    with Publisher(own) as publisher:
        crown(publisher, tmp_path / "models", pair_version())
    for made, before in ((2, 0), (0, 2)):
        done = streamrec(own, *asked)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"users": 2, "done_before": before, "made": made, "version": "v1"}
    with closing(connect(own)) as store:
        slate = kept(store, "u2", "default")
    assert (len(set(slate.items)), slate.version) == (5, "v1")


def test_no_answer_in_time_is_exit_code_1_and_one_line(shared):
    done = rank(shared, "--user", "u1", "--timeout-ms", "200", STREAMREC_TOPIC_PREFIX="nobody.listens.")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines()[-1].startswith("streamrec: TIMEOUT")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--user", "no such id"], "user_id"), (["--user", "u1", "--limit", "201"], "limit")],
)
def test_a_slip_of_the_operator_is_exit_code_2_and_names_it(shared, arguments, said):
    done = rank(shared, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_broker_that_does_not_answer_is_exit_code_2(shared):
    done = rank(shared, "--user", "u1", STREAMREC_KAFKA="127.0.0.1:1")
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr
