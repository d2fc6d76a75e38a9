"""The models that learn one objective online: River's, behind one protocol; only home of River in `models`.

    logit of a place = weights · inputs  (+ what the kind adds)

A kind is one class (`head.Head`): it learns from single examples, tells its plain state, and scores whole
candidate sets from published arrays with NumPy. To plug one in, add it to KINDS and to the setting
`online_model`; `tests/laws/test_online_laws.py` and `test_lessons_laws.py` put every kind to the same laws.
"""

from models.learning.heads.factorised import Factorised
from models.learning.heads.head import BIAS, DENSE, LOGIT, Extra, Head, Inputs, Tuning
from models.learning.heads.linear import Linear
from models.learning.heads.optimistic import Optimistic

__all__ = ["BIAS", "DENSE", "KINDS", "LOGIT", "Extra", "Head", "Inputs", "Linear", "Tuning"]

KINDS: dict[str, type[Head]] = {each.kind: each for each in (Linear, Factorised, Optimistic)}
