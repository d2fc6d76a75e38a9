"""Models, online learning and training."""

from monitors.dashboards.board import Board, Row, lines, number, table

__all__ = ["MODELS"]

MODELS = Board(
    uid="streamrec-models",
    title="streamrec: models and training",
    says="What serves, how well it learns, how trainings end.",
    rows=(
        Row(
            "In use",
            (
                table(
                    "Version by role",
                    "short",
                    "Each process names the version it uses.",
                    'max by (role, instance, version) (streamrec_model_info{version!=""})',
                    width=16,
                ),
                number("Champion's age", "s", "Since its promotion.", "streamrec:model_age:seconds"),
                number("Last training took", "s", "Wall time.", "max(streamrec_training_seconds) > 0"),
            ),
        ),
        Row(
            "Online learning",
            (
                lines(
                    "AUC by head",
                    "percentunit",
                    "Prequential: each label is predicted before it is learned. Of shares: concordance.",
                    ("max by (head) (streamrec_online_auc_ratio)", "{{head}}"),
                    ("max by (head) (streamrec_online_concordance_ratio)", "{{head}}: concordance"),
                ),
                lines(
                    "Watched share: error",
                    "percentunit",
                    "Expected when served, against what was watched of it, over recent labels.",
                    ("max by (head) (streamrec_online_rmse_ratio)", "RMSE"),
                    ("avg by (head) (streamrec_online_bias_ratio)", "told less true"),
                ),
                lines(
                    "Log loss by head",
                    "short",
                    "Nats, over recent labels.",
                    ("max by (head) (streamrec_online_log_loss_nats)", "{{head}}"),
                    ("max(streamrec_estimated_log_loss_nats)", "expected of clicks, without labels"),
                ),
                lines(
                    "Labels learned",
                    "short",
                    "A second.",
                    ("sum by (head) (rate(streamrec_learned_total[$__rate_interval]))", "{{head}}"),
                ),
                lines(
                    "Age of the weights in use",
                    "s",
                    "How long ago the scorer got new ones.",
                    ("max by (instance) (streamrec_weights_age_seconds)", "{{instance}}"),
                ),
                lines(
                    "Examples",
                    "short",
                    "Revisions written a second.",
                    ("sum(rate(streamrec_examples_total[$__rate_interval]))", "examples"),
                ),
                lines(
                    "Slates by the end of their label window",
                    "short",
                    "A second.",
                    ("sum by (outcome) (rate(streamrec_slates_total[$__rate_interval]))", "{{outcome}}"),
                ),
            ),
        ),
        Row(
            "Training",
            (
                lines(
                    "Trainings by how they ended",
                    "short",
                    "In six hours. `streamrec models list` gives the reasons.",
                    ("sum by (outcome) (increase(streamrec_trainings_total[6h]))", "{{outcome}}"),
                    width=12,
                ),
                lines(
                    "Rows archived",
                    "short",
                    "Written to Parquet, a second: what trainings read.",
                    ("sum by (topic) (rate(streamrec_archived_rows_total[$__rate_interval]))", "{{topic}}"),
                    width=12,
                ),
                lines(
                    "Checkpoints of trainings",
                    "short",
                    "In six hours: parts of trainings that went on where they were cut off, and checkpoints "
                    "that could not be gone on from.",
                    ("sum(increase(streamrec_checkpoints_taken_up_total[6h]))", "taken up"),
                    (
                        "sum by (reason) (increase(streamrec_checkpoints_dropped_total[6h]))",
                        "dropped: {{reason}}",
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
