"""`streamrec features rebuild`: features of a fresh namespace, from archive and topics."""

import time
from typing import Annotated

import typer

__all__ = ["rebuild"]


def rebuild(
    namespace: Annotated[
        str | None, typer.Option(help="where to; default: STREAMREC_NAMESPACE; must hold no features yet")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Fold the archive and what the topics hold beyond it into a namespace that holds no features.

    A worker started there goes on exactly where this ended. Use it to fill features that came new, or
    to start anew beside a running system.
    """
    import json

    from infra.bar import bar
    from streams.archive.rebuild import EVENT_NAMES, open_timeline
    from streams.archive.rebuild import rebuild as fold
    from streams.settings import read_settings
    from streams.store.connect import connect

    settings = read_settings(namespace=namespace)
    store = connect(settings)
    began = time.monotonic()
    try:
        store.check()
        with bar("rebuild") as shown, open_timeline(settings) as timeline:
            ends = {s: end for name in EVENT_NAMES for s, end in timeline.ends(name).items()}
            shown.total(timeline.count(EVENT_NAMES, ends))
            result = fold(store, timeline, lambda: time.time_ns() // 1_000_000, shown.folded)
    finally:
        store.close()
    seconds = time.monotonic() - began
    said = {
        "namespace": settings.namespace,
        "messages": result.messages,
        **result.outcomes._asdict(),
        "lost_offsets": result.lost_offsets,
        "seconds": round(seconds, 3),
    }
    if as_json:
        print(json.dumps(said))
        return
    print(f"{settings.namespace}: {result.messages} messages in {seconds:.1f} s")
    print(", ".join(f"{count} {name}" for name, count in result.outcomes._asdict().items()))
    if result.lost_offsets:
        print(f"{result.lost_offsets} offsets are held by neither archive nor topics")
