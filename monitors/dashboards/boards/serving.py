"""Requests, stages, and the machine."""

from monitors.dashboards.board import Board, Row, lines, table

__all__ = ["SERVING"]

SERVING = Board(
    uid="streamrec-serving",
    title="streamrec: serving",
    says="Requests, their latency by stage, degradation, and what each role takes of the machine.",
    rows=(
        Row(
            "Requests",
            (
                lines(
                    "Requests by outcome",
                    "reqps",
                    "Everything but ok and repeat is an error.",
                    ("sum by (outcome) (rate(streamrec_requests_total[$__rate_interval]))", "{{outcome}}"),
                    stacked=True,
                ),
                lines(
                    "Latency",
                    "s",
                    "From the record's arrival to its reply; the budget is 100 ms.",
                    ("streamrec:request_seconds:p50_5m", "p50"),
                    ("streamrec:request_seconds:p99_5m", "p99"),
                    limit=0.1,
                ),
                lines(
                    "p99 by stage",
                    "s",
                    "Stages of the funnel.",
                    ("stage:streamrec_stage_seconds:p99_5m", "{{stage}}"),
                ),
                lines(
                    "Error ratio",
                    "percentunit",
                    "Of requests.",
                    ("streamrec:request_errors:ratio_rate5m", "errors"),
                    limit=0.01,
                ),
                lines(
                    "Degraded slates",
                    "percentunit",
                    "Share of slates that stepped down.",
                    ("streamrec:degraded:ratio_rate5m", "all"),
                    limit=0.05,
                ),
                lines(
                    "Steps down and failed stages",
                    "short",
                    "A second, by name.",
                    ("sum by (step) (rate(streamrec_degraded_total[$__rate_interval]))", "{{step}}"),
                    (
                        "sum by (stage) (rate(streamrec_stage_failures_total[$__rate_interval]))",
                        "failed: {{stage}}",
                    ),
                ),
            ),
        ),
        Row(
            "Index of nearest neighbours",
            (
                lines("Size", "bytes", "In memory.", ("max(streamrec_index_bytes)", "index")),
                lines("Build", "s", "Off the request path.", ("max(streamrec_index_build_seconds)", "build")),
                lines(
                    "Recall at 500",
                    "percentunit",
                    "Against exact search, on sampled queries, when it was built.",
                    ("min(streamrec_index_recall_ratio)", "recall"),
                ),
                lines(
                    "Item vectors",
                    "short",
                    "Written a second; items whose vector is not written, or has not reached a scorer.",
                    ("sum(rate(streamrec_embedded_total[$__rate_interval]))", "written a second"),
                    ("max(streamrec_embedding_waiting_items)", "not written"),
                    ("max(streamrec_vectors_waiting_items)", "a scorer waits for"),
                ),
            ),
        ),
        Row(
            "Rows that scorers keep",
            (
                lines(
                    "Rows kept",
                    "short",
                    "Rows of features that a scorer holds in memory instead of asking Redis.",
                    ("max by (instance) (streamrec_mirror_rows)", "{{instance}}"),
                    width=12,
                ),
                lines(
                    "Given up",
                    "short",
                    "Times in an hour that a scorer gave up all of them, by reason; it asks Redis meanwhile.",
                    ("sum by (reason) (increase(streamrec_mirror_resets_total[1h]))", "{{reason}}"),
                    width=12,
                ),
            ),
        ),
        Row(
            "Roles",
            (
                lines(
                    "Ready",
                    "short",
                    "1 while a role has its partitions and its neighbours answer.",
                    ("min by (role) (streamrec_ready)", "{{role}}"),
                ),
                lines(
                    "Processor",
                    "short",
                    "Cores in use.",
                    ("role:process_cpu_seconds:rate5m", "{{role}}"),
                    stacked=True,
                ),
                lines(
                    "Memory",
                    "bytes",
                    "Resident.",
                    ("role:process_resident_memory_bytes:sum", "{{role}}"),
                    stacked=True,
                ),
                lines(
                    "Calls repeated",
                    "short",
                    "A second, by the neighbour that failed.",
                    (
                        "sum by (role, neighbour) (rate(streamrec_retries_total[$__rate_interval]))",
                        "{{role}} {{neighbour}}",
                    ),
                ),
                lines(
                    "Replies refused",
                    "short",
                    "A second: reply topics outside the prefix.",
                    ("sum(rate(streamrec_refused_reply_topics_total[$__rate_interval]))", "refused"),
                ),
                table(
                    "Running code",
                    "short",
                    "Version of each process.",
                    "max by (role, instance, version) (streamrec_build_info)",
                    width=8,
                ),
            ),
        ),
        Row(
            "Alerts",
            (
                lines(
                    "Alerts by what became of them",
                    "short",
                    "In an hour.",
                    ("sum by (outcome) (increase(streamrec_alerts_total[1h]))", "{{outcome}}"),
                    width=6,
                ),
                lines(
                    "Deliveries",
                    "short",
                    "In an hour.",
                    (
                        "sum by (receiver, outcome) (increase(streamrec_alert_deliveries_total[1h]))",
                        "{{receiver}} {{outcome}}",
                    ),
                    width=6,
                ),
                lines(
                    "Not yet told",
                    "short",
                    "Changes that wait for a receiver.",
                    ("max by (receiver) (streamrec_alerts_waiting)", "{{receiver}}"),
                    width=6,
                ),
                lines(
                    "Never told, and receivers that are off",
                    "short",
                    "Changes dropped in an hour; 1 where a receiver answered 410.",
                    (
                        "sum by (receiver, reason) (increase(streamrec_alerts_dropped_total[1h]))",
                        "{{receiver}} {{reason}}",
                    ),
                    ("max by (receiver) (streamrec_alert_receiver_off)", "off: {{receiver}}"),
                    width=6,
                ),
            ),
        ),
    ),
)
