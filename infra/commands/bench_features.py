"""`streamrec bench features`: what one worker process folds a second, and what a ranking's read costs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.commands.benching import write_json
from streams.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.benchmarks.load import Load
    from infra.benchmarks.report import Report

__all__ = ["Part", "features", "run_bench"]


class Part(StrEnum):
    """What may be measured alone."""

    ALL = "all"
    SINGLE = "single"
    BATCHES = "batches"
    READS = "reads"


def features(
    part: Annotated[Part, typer.Option(help="measure this alone")] = Part.ALL,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="of every reader, in turns")] = 3,
    singles: Annotated[int, typer.Option(min=2_000, help="events, one a message")] = 60_000,
    batched: Annotated[int, typer.Option(min=100_000, help="events, 50 a message")] = 600_000,
    users: Annotated[int, typer.Option(min=10)] = 20_000,
    items: Annotated[int, typer.Option(min=600)] = 20_000,
    seed: Annotated[int, typer.Option()] = 1,
    feast: Annotated[
        bool, typer.Option(help="read through Feast too, which is installed once into the cache")
    ] = True,
    profile: Annotated[
        Path | None,
        typer.Option(help="only write where a fold's time goes: fold-profile.md in a folder"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure the feature store beside others, on a real Apache Kafka and a Redis of its own.

    Events a second of one `features` process, beside a worker that does nothing on the same Faust edge
    and beside a bare aiokafka consumer; then the vectors of 500 candidates, beside a bare MGET of the
    same keys and beside Feast's online read of the same values.
    """
    from rich.console import Console

    from infra.benchmarks.load import Load
    from infra.benchmarks.picture import as_picture

    loads = {
        Part.SINGLE: Load(singles, 1, users, items, seed),
        Part.BATCHES: Load(batched, 50, users, items, seed),
        Part.READS: Load(200_000, 50, max(10, users // 10), items, seed),
    }
    if profile is not None:
        _profile(
            [Load(20_000, 1, users, items, seed), Load(100_000, 50, users, items, seed)], profile, json_file
        )
        return
    wanted = [each for each in loads if part in (Part.ALL, each)]
    report = run_bench({each: loads[each] for each in wanted}, rounds, feast)
    Console().print(as_picture(report))
    if json_file is not None:
        write_json(report, json_file)


def run_bench(loads: "Mapping[Part, Load]", rounds: int, feast: bool) -> "Report":
    """Starts a Kafka (where it is needed) and a Redis, and measures the parts that have a load."""
    import tempfile
    from contextlib import ExitStack

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from infra.benchmarks import reads, throughput
    from infra.benchmarks.conditions import conditions
    from infra.benchmarks.report import Report
    from infra.kafka.apache import ApacheKafka
    from infra.redis_server import RedisServer
    from streams.settings import Settings

    found: dict[Part, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        bars = closing.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        redis = closing.enter_context(RedisServer(folder / "redis"))
        kafka = "127.0.0.1:9"
        if {Part.SINGLE, Part.BATCHES} & set(loads):
            kafka = closing.enter_context(ApacheKafka(folder / "kafka"))
        for part, load in loads.items():
            settings = Settings(
                kafka=kafka,
                redis=redis,
                namespace="bench",
                topic_prefix=f"{part}.",
                state=folder / "state",
                partitions=4,
            )
            steps = 2 + 10 * rounds if part is Part.READS else 1 + rounds * len(throughput.CONTENDERS)
            task = bars.add_task(part.value, total=steps)

            def told(step: str, task: Any = task, part: Part = part) -> None:
                bars.update(task, advance=1, description=f"{part.value}: {step} done")

            if part is Part.READS:
                found[part] = reads.measure(settings, load, 10 * rounds, feast, told)
            else:
                found[part] = throughput.measure(settings, load, rounds, told)
    single, batches, read = (found.get(part) for part in (Part.SINGLE, Part.BATCHES, Part.READS))
    return Report(conditions(), rounds, single, batches, read)


def _profile(loads: "list[Load]", folder: Path, json_file: Path | None) -> None:
    """Folds the loads in this process, each into an empty Redis, and writes where the time went."""
    import tempfile

    from rich.console import Console

    from infra.benchmarks.anatomy import anatomy, as_markdown
    from infra.benchmarks.conditions import conditions
    from infra.redis_server import RedisServer
    from streams.fold.feature_agent import rarely_collected
    from streams.settings import Settings
    from streams.store.connect import connect, open_flights

    rarely_collected()
    found = []
    for load in loads:
        with tempfile.TemporaryDirectory() as scratch, RedisServer(Path(scratch)) as redis:
            settings = Settings(redis=redis, namespace="bench")
            store, flights = connect(settings), open_flights(settings)

            def redis_s(flights: Any = flights) -> float:
                used = flights.run("INFO", "cpu")
                return float(used["used_cpu_user"] + used["used_cpu_sys"])

            found.append(anatomy(store, load, redis_s))
            store.close()
            flights.close()
    text = as_markdown(found, tuple(conditions().lines()))
    Console().print(text, markup=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fold-profile.md").write_text(text)
    except OSError as error:
        raise OperatorError(
            f"bench features: --profile: cannot write {error.filename}: {error.strerror}"
        ) from None
    if json_file is not None:
        write_json(found, json_file)
