"""What a PromQL expression reads: metric names and labels; and what there is to be read."""

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram, Info

from streams import metrics

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "infra" / "prometheus" / "rules"
TARGET_LABELS = {"role", "instance", "job"}  # that every scraped series has
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "without", "on", "ignoring"}
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
# what a scrape and the client's own collector add
GIVEN = {
    "up": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
}


def names(expr: str) -> set[str]:
    """Names of the series that an expression reads."""
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(GROUPING, " ", bare)
    found = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])", bare)
    return {name for name in found if name not in WORDS}


def labels(expr: str) -> set[str]:
    """Names of the labels that an expression matches or groups by."""
    grouped = {label.strip() for group in re.findall(GROUPING, expr) for label in group.split(",")}
    bare = re.sub(r'"[^"]*"', '""', expr)
    matched = {m for inside in re.findall(r"\{([^}]*)\}", bare) for m in re.findall(r"(\w+)\s*[=!]", inside)}
    return (grouped | matched) - {""}


def rules() -> list[dict[str, Any]]:
    """Every recording and alert rule."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def declared() -> dict[str, Counter | Gauge | Histogram | Info]:
    """Our metrics by the name under which they are declared."""
    kinds = (Counter, Gauge, Histogram, Info)
    return {name: value for name, value in vars(metrics).items() if isinstance(value, kinds)}


def exported() -> dict[str, set[str]]:
    """The labels of every series that our processes export, by the series' name."""
    series = dict(GIVEN)
    for metric in declared().values():
        (family,) = metric.describe()
        own = set(metric._labelnames)
        if isinstance(metric, Histogram):
            series |= {f"{family.name}_{part}": own for part in ("sum", "count")}
            series[f"{family.name}_bucket"] = own | {"le"}
        elif isinstance(metric, Info):
            series[f"{family.name}_info"] = own | {"version"}
        else:
            series[family.name + ("_total" if isinstance(metric, Counter) else "")] = own
    return {name: own | TARGET_LABELS for name, own in series.items()}


def recorded() -> dict[str, set[str]]:
    """The labels of every recorded series, by its name: those that its rule groups by."""
    return {
        rule["record"]: {
            label.strip()
            for group in re.findall(r"\bby\s*\(([^)]*)\)", rule["expr"])
            for label in group.split(",")
        }
        - {"le"}
        for rule in rules()
        if "record" in rule
    }


def wrong(expr: str) -> list[str]:
    """What an expression reads that nobody exports or records."""
    known = exported() | recorded()
    found = [f"no series {name}" for name in sorted(names(expr) - set(known))]
    has = set().union(*(known.get(name, set()) for name in names(expr)))
    return found + [f"no label {label}" for label in sorted(labels(expr) - has)]
