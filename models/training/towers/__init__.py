"""DCN-v2 in JAX/Flax over the columns, and its export to ONNX; only home of jax, flax, optax and onnx.

Importing this package imports JAX (about half a second); a trainer does so when it trains.
"""

from models.training.towers.export import to_onnx
from models.training.towers.network import Dcn, Scaling, Tower, fit_scaling, random_params
from models.training.towers.training import Config, Epoch, Fitted, train, train_on, warm

__all__ = [
    "Config",
    "Dcn",
    "Epoch",
    "Fitted",
    "Scaling",
    "Tower",
    "fit_scaling",
    "random_params",
    "to_onnx",
    "train",
    "train_on",
    "warm",
]
