"""`streamrec schema`: the wire contract as JSON Schema."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["register", "schemas"]


def register(app: typer.Typer) -> None:
    """Adds `schema`."""
    app.command("schema")(schema)


def schemas() -> dict[str, dict[str, Any]]:
    """Topic name -> JSON Schema (2020-12) of one record, with what JSON Schema cannot say in words."""
    import msgspec

    from streams.events import ID_PATTERN, MAX_AHEAD_MS, MAX_BATCH, TOPICS

    found = {}
    for topic in TOPICS.values():
        said = [(topic.record.__doc__ or "").strip()]
        said.append(f"Keyed by {topic.key}. At most {topic.max_bytes} bytes of UTF-8 JSON.")
        if topic.batched:
            said.append(f"A message may also be an array of 1 to {MAX_BATCH} such records of one key.")
        if topic.wall_checked:
            said.append(f"ts_ms is at most {MAX_AHEAD_MS} ms ahead of the wall clock.")
        if topic.compacted:
            said.append("An empty value removes the key.")
        head = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": topic.name,
            "description": "\n\n".join(said),
        }
        text = json.dumps(head | msgspec.json.schema(topic.record))
        # `$` means the very end in JSON Schema, and not every engine has our look-ahead
        found[topic.name] = json.loads(
            text.replace(json.dumps(ID_PATTERN), json.dumps(ID_PATTERN.split("(?!")[0]))
        )
    return found


def schema(
    out: Annotated[
        Path | None, typer.Option(help="Folder for one file per topic; default: print all.")
    ] = None,
) -> None:
    """Publish the JSON Schema of every topic."""
    from streams.errors import OperatorError

    found = schemas()
    if out is None:
        print(json.dumps(found, indent=2))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, document in found.items():
            (out / f"{name}.schema.json").write_text(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise OperatorError(f"--out {out}: {error.strerror}") from None
    print(f"{len(found)} schemas in {out}")
