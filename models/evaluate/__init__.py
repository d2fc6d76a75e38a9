"""How good a model is: metrics once for all, and what a policy would have earned."""

from models.evaluate.metrics import (
    Interval,
    bootstrap,
    calibration_error,
    histogram_auc,
    log_loss,
    ndcg_at,
    roc_auc,
)

__all__ = [
    "Interval",
    "bootstrap",
    "calibration_error",
    "histogram_auc",
    "log_loss",
    "ndcg_at",
    "roc_auc",
]
