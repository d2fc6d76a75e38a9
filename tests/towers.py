"""Towers that nobody trained, in a version: enough to embed, to pool and to be told apart by their seed."""

from models.training.retrieval.carried import resealed
from models.training.retrieval.export import tower_files
from models.training.retrieval.network import TwoTowers, first_params, first_table
from models.training.retrieval.vocabulary import Vocabulary
from models.training.towers.network import fit_scaling
from models.vectors.inputs import item_inputs, outline_of
from models.versions.manifest import Version
from tests.build import make_item


def with_untrained_towers(version: Version, seed: int = 0) -> Version:
    """The version with towers as they are before training."""
    items = [
        make_item(item_id=f"i{at}", title="something else about chess, opera", duration_ms=1_000 * (at + 1))
        for at in range(20)
    ]
    vocabulary = Vocabulary.of(item.title for item in items)
    outline = outline_of(50, 0, len(vocabulary.words))
    inputs = item_inputs(outline, items)
    scaling = fit_scaling(inputs.numbers)
    table, params = first_table(outline, seed), first_params(outline, seed)
    towers = TwoTowers(outline, scaling, table, params, vocabulary)
    return resealed(version, tower_files(towers, inputs, seed))
