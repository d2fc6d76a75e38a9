"""The feature store: freshness and exactness."""

from monitors.dashboards.board import Board, Row, lines

__all__ = ["FEATURES"]

FEATURES = Board(
    uid="streamrec-features",
    title="streamrec: feature store",
    says="How fresh features are, and whether every event is in them once.",
    rows=(
        Row(
            "Freshness",
            (
                lines(
                    "Behind by",
                    "s",
                    "Age of the newest message handled, while others wait.",
                    ("role:streamrec_behind:seconds", "{{role}}"),
                    limit=30,
                ),
                lines(
                    "Messages waiting",
                    "short",
                    "Lag by role.",
                    ("role:streamrec_lag:records", "{{role}}"),
                ),
                lines(
                    "Messages handled",
                    "short",
                    "A second.",
                    ("role:streamrec_messages:rate5m", "{{role}}"),
                ),
                lines(
                    "Micro-batch p99",
                    "s",
                    "One fold and its writes to Redis.",
                    ("role:streamrec_batch_seconds:p99_5m", "{{role}}"),
                ),
            ),
        ),
        Row(
            "Exactness",
            (
                lines(
                    "Shard writes refused",
                    "short",
                    "A second: a fence was not where the worker believed; the shard is folded again.",
                    ("sum(rate(streamrec_stale_fences_total[$__rate_interval]))", "stale fences"),
                ),
                lines(
                    "Partitions read again",
                    "short",
                    "In an hour.",
                    ("sum by (role, topic) (increase(streamrec_rewinds_total[1h]))", "{{role}} {{topic}}"),
                ),
                lines(
                    "Offsets lost",
                    "short",
                    "In an hour: Kafka no longer held what a fence asked for. Always 0 in health.",
                    ("sum by (role) (increase(streamrec_lost_offsets_total[1h]))", "{{role}}"),
                ),
                lines(
                    "Keys of the last verify",
                    "short",
                    "Folded anew from the events and compared; all but compared is 0 in health.",
                    ("max by (result) (streamrec_verify_keys)", "{{result}}"),
                ),
                lines(
                    "Greatest error of the last verify",
                    "short",
                    "Relative, of any value: 1e-9 is what rounding may do.",
                    ("max(streamrec_verify_error_ratio)", "error"),
                ),
                lines(
                    "Time since the last verify",
                    "s",
                    "No line where none has ended yet.",
                    ("time() - max(streamrec_verify_timestamp_seconds > 0)", "age"),
                ),
                lines(
                    "Served rows rebuilt from the past",
                    "short",
                    "A second; those that differ had events in flight.",
                    ("sum(rate(streamrec_served_rows_checked_total[$__rate_interval]))", "checked"),
                    ("sum(rate(streamrec_served_rows_differing_total[$__rate_interval]))", "differing"),
                ),
                lines(
                    "Undos",
                    "short",
                    "A second, by what they met.",
                    ("sum by (result) (rate(streamrec_undos_total[$__rate_interval]))", "{{result}}"),
                ),
                lines(
                    "Swept keys",
                    "short",
                    "A second: rows removed, lists compacted.",
                    ("sum by (what) (rate(streamrec_swept_total[$__rate_interval]))", "{{what}}"),
                ),
                lines(
                    "Events that do not teach",
                    "short",
                    "A second, by why they were flagged.",
                    (
                        "sum by (reason) (rate(streamrec_flagged_events_total[$__rate_interval]))",
                        "{{reason}}",
                    ),
                ),
                lines(
                    "Forgotten",
                    "short",
                    "A second: users of whom something was deleted, and their records passed over.",
                    ("sum(rate(streamrec_forgotten_users_total[$__rate_interval]))", "users"),
                    ("sum by (role) (rate(streamrec_forgotten_records_total[$__rate_interval]))", "{{role}}"),
                ),
                lines(
                    "Feedback without a slate",
                    "short",
                    "A second: organic, or its slate was not logged.",
                    (
                        "sum by (topic) (rate(streamrec_organic_events_total[$__rate_interval]))",
                        "{{topic}}",
                    ),
                ),
            ),
        ),
    ),
)
