"""How good a model is: metrics once for all, and what a policy would have earned."""

from models.evaluate.metrics import (
    AtK,
    Interval,
    Threshold,
    at_k,
    bootstrap,
    calibration_error,
    concordance,
    f1_at_chosen,
    histogram_auc,
    log_loss,
    ndcg_at,
    ndcg_of,
    pr_auc,
    rmse,
    roc_auc,
)

__all__ = [
    "AtK",
    "Interval",
    "Threshold",
    "at_k",
    "bootstrap",
    "calibration_error",
    "concordance",
    "f1_at_chosen",
    "histogram_auc",
    "log_loss",
    "ndcg_at",
    "ndcg_of",
    "pr_auc",
    "rmse",
    "roc_auc",
]
