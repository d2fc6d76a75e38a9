"""Drift of what is served."""

from monitors.dashboards.board import Board, Row, lines, table

__all__ = ["DRIFT"]

MAY_ASK = "feature:streamrec_drift_psi:max and on (feature) feature:streamrec_drift_raised:max"

DRIFT = Board(
    uid="streamrec-drift",
    title="streamrec: drift",
    says="What is served, against what the serving model was trained on.",
    rows=(
        Row(
            "Features",
            (
                lines(
                    "PSI of features that may ask",
                    "short",
                    "Population stability index of the champion's last window. Three windows above 0.2 (more "
                    "where rows are few, or where the model's first windows lay there already) ask for a "
                    "retraining.",
                    (MAY_ASK, "{{feature}}"),
                    width=24,
                    limit=0.2,
                ),
                table(
                    "Highest PSI now",
                    "short",
                    "Of the features that may ask, the ten that moved most.",
                    f"topk(10, {MAY_ASK})",
                ),
                table(
                    "Highest PSI of the others",
                    "short",
                    "What follows the clock, only grows, counts traffic or is our own policy's choice moves "
                    "without being news: it never asks.",
                    "topk(10, feature:streamrec_drift_psi:max unless on (feature) "
                    "feature:streamrec_drift_raised:max)",
                ),
                table(
                    "Highest other scores now",
                    "short",
                    "KS statistics and the like: each has a threshold of its own.",
                    'topk(10, max by (feature, method) (streamrec_drift_score{method!="psi"}))',
                ),
                table(
                    "Features that ask",
                    "short",
                    "1 where a column that may ask for retraining drifted three windows in a row.",
                    "feature:streamrec_drift_raised:max > 0",
                ),
            ),
        ),
        Row(
            "Candidates",
            (
                lines(
                    "PSI of candidates",
                    "short",
                    "What there was to choose from, by a few candidates of each request, against training "
                    "and the model's first window of them. Reported, never asking.",
                    (
                        'topk(10, max by (feature) (streamrec_candidate_drift_score{method="psi"}))',
                        "{{feature}}",
                    ),
                    width=24,
                    limit=0.2,
                ),
            ),
        ),
        Row(
            "Verdicts",
            (
                lines(
                    "Windows by verdict",
                    "short",
                    "Judged in an hour. too_few and no_reference are no verdicts at all.",
                    ("sum by (state) (increase(streamrec_drift_windows_total[1h]))", "{{state}}"),
                    width=12,
                    stacked=True,
                ),
                lines(
                    "Retrainings asked for",
                    "short",
                    "Triggers in an hour.",
                    ("sum by (reason) (increase(streamrec_retrain_triggers_total[1h]))", "{{reason}}"),
                    width=12,
                ),
            ),
        ),
    ),
)
