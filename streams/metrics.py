"""Every Prometheus name, unit and label, declared once.

No label ever holds a user, an item or a request. Times are in seconds, as Prometheus asks. Processor
time, memory and open files come from the client's own collector (`process_*`); names end in their unit, and
counters in `_total`. `infra/prometheus` and `monitors/dashboards` read these names; tests hold them together.
"""

from prometheus_client import Counter, Gauge, Histogram, Info

FINE = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0)

# every worker
MESSAGES = Counter("streamrec_messages_total", "Kafka messages handled.", ["topic"])
DEAD_LETTERS = Counter("streamrec_dead_letters_total", "Records sent to a .DLT topic.", ["topic", "reason"])
LAG = Gauge("streamrec_lag_records", "Messages waiting on a topic's partitions.", ["topic"])
BATCH_SECONDS = Histogram("streamrec_batch_seconds", "Time of one micro-batch.", ["role"], buckets=FINE)
HANDLED_TIME = Gauge(
    "streamrec_handled_timestamp_seconds", "Kafka's Unix time of the newest message handled.", ["role"]
)
RETRIES = Counter("streamrec_retries_total", "Calls repeated after a neighbour failed.", ["neighbour"])
READY = Gauge("streamrec_ready", "1 when partitions are assigned and Redis answers.", ["role"])
BUILD = Info("streamrec_build", "Version of the running code.")

# features
EVENTS = Counter("streamrec_events_total", "Event records by what became of them.", ["topic", "outcome"])
UNDOS = Counter("streamrec_undos_total", "Undos by what they met: took_back a target, or waits.", ["result"])
FLAGGED = Counter("streamrec_flagged_events_total", "Events that do not teach, by why.", ["reason"])
FORGOTTEN_RECORDS = Counter(
    "streamrec_forgotten_records_total", "Records passed over, of users who were forgotten.", ["role"]
)
FORGOTTEN_USERS = Counter("streamrec_forgotten_users_total", "Users of whom something was deleted.", ["role"])
SWEPT = Counter("streamrec_swept_total", "Keys that the sweep removed (row) or compacted (list).", ["what"])
STALE_FENCES = Counter("streamrec_stale_fences_total", "Shard writes refused by a fence and folded again.")
REWINDS = Counter("streamrec_rewinds_total", "Partitions read again from an older offset.", ["topic"])
LOST_OFFSETS = Counter(
    "streamrec_lost_offsets_total", "Offsets a fence asked for that Kafka no longer holds."
)

# labels, archive
SLATES_JOINED = Counter(
    "streamrec_slates_total", "Served slates by the end of their label window.", ["outcome"]
)
EXAMPLES = Counter("streamrec_examples_total", "Example revisions written.")
ORGANIC = Counter("streamrec_organic_events_total", "Feedback without a served slate.", ["topic"])
ARCHIVED_ROWS = Counter("streamrec_archived_rows_total", "Rows written to Parquet.", ["topic"])

VERIFY_KEYS = Gauge("streamrec_verify_keys", "Keys of the last verify, by what was found.", ["result"])
VERIFY_ERROR = Gauge("streamrec_verify_error_ratio", "Greatest relative error of a value in the last verify.")
VERIFY_TIME = Gauge("streamrec_verify_timestamp_seconds", "When the last verify ended.")
SERVED_ROWS_CHECKED = Counter(
    "streamrec_served_rows_checked_total", "Served rows of some users rebuilt from the past."
)
SERVED_ROWS_DIFFERING = Counter(
    "streamrec_served_rows_differing_total", "Of these, rows that events in flight made differ."
)

# serving
REQUESTS = Counter("streamrec_requests_total", "Requests by how they ended.", ["outcome"])
REQUEST_SECONDS = Histogram(
    "streamrec_request_seconds", "From the record's arrival to its reply.", buckets=FINE
)
STAGE_SECONDS = Histogram(
    "streamrec_stage_seconds", "Time of one stage of the funnel.", ["stage"], buckets=FINE
)
STAGE_FAILURES = Counter(
    "streamrec_stage_failures_total", "Stages that failed and were stepped over.", ["stage"]
)
DEGRADED = Counter("streamrec_degraded_total", "Slates that stepped down, by name.", ["step"])
REFUSED_REPLY_TOPICS = Counter(
    "streamrec_refused_reply_topics_total", "Replies not sent: topic outside the prefix."
)
WEIGHTS_AGE = Gauge("streamrec_weights_age_seconds", "Age of the online weights in use.")
CATALOGUE_ITEMS = Gauge("streamrec_catalogue_items", "Items known to this process.")

MIRROR_ROWS = Gauge("streamrec_mirror_rows", "Rows of features that this process keeps a place for.")
MIRROR_RESETS = Counter(
    "streamrec_mirror_resets_total", "Times that all kept rows were given up, by reason.", ["reason"]
)

INDEX_BYTES = Gauge("streamrec_index_bytes", "Size of the index of nearest neighbours in use.")
INDEX_SECONDS = Gauge("streamrec_index_build_seconds", "Time that building it took.")
INDEX_RECALL = Gauge("streamrec_index_recall_ratio", "Its recall at 500 on sampled queries, when built.")

EMBEDDED = Counter("streamrec_embedded_total", "Item vectors written, new and changed ones.")
EMBEDDING_WAITING = Gauge("streamrec_embedding_waiting_items", "Items whose vector is not written yet.")
VECTORS_WAITING = Gauge("streamrec_vectors_waiting_items", "Items whose vector a scorer still waits for.")

# learning
LEARNED = Counter("streamrec_learned_total", "Labels learned, by head.", ["head"])
ONLINE_AUC = Gauge("streamrec_online_auc_ratio", "Prequential ROC AUC over recent labels.", ["head"])
ONLINE_LOG_LOSS = Gauge(
    "streamrec_online_log_loss_nats", "Prequential log loss over recent labels.", ["head"]
)
ONLINE_CONCORDANCE = Gauge(
    "streamrec_online_concordance_ratio", "Prequential concordance over recent shares.", ["head"]
)
ONLINE_RMSE = Gauge("streamrec_online_rmse_ratio", "Prequential RMSE over recent shares.", ["head"])
ONLINE_BIAS = Gauge("streamrec_online_bias_ratio", "Recent shares told, less true ones; means.", ["head"])
TRAININGS = Counter("streamrec_trainings_total", "Trainings by how they ended.", ["outcome"])
TRAINING_SECONDS = Gauge("streamrec_training_seconds", "Duration of the last training.")
CHECKPOINTS_TAKEN_UP = Counter(
    "streamrec_checkpoints_taken_up_total", "Parts of trainings that went on where they were cut off."
)
CHECKPOINTS_DROPPED = Counter(
    "streamrec_checkpoints_dropped_total", "Checkpoints that could not be gone on from.", ["reason"]
)
MODEL = Info("streamrec_model", "The model version in use.")
MODEL_SINCE = Gauge(
    "streamrec_model_promoted_timestamp_seconds", "Unix time when the version in use was promoted."
)

# monitoring
DRIFT_SCORE = Gauge("streamrec_drift_score", "Last drift score.", ["feature", "method"])
CANDIDATE_DRIFT = Gauge(
    "streamrec_candidate_drift_score", "Last drift score of sampled candidates.", ["feature", "method"]
)
DRIFT_RAISED = Gauge(
    "streamrec_drift_raised", "1 where a column that may ask drifted three windows in a row.", ["feature"]
)
DRIFT_WINDOWS = Counter("streamrec_drift_windows_total", "Windows judged.", ["state"])
ESTIMATED_CTR = Gauge(
    "streamrec_estimated_ctr_ratio", "Click rate that the probabilities served expect; no label needed."
)
ESTIMATED_LOG_LOSS = Gauge(
    "streamrec_estimated_log_loss_nats", "Log loss that the probabilities served expect; no label needed."
)
TRIGGERS = Counter("streamrec_retrain_triggers_total", "Retrain triggers written.", ["reason"])
SLATE_IMPRESSIONS = Counter(
    "streamrec_slate_impressions_total",
    "Impressions of served slates, once each.",
    ["surface", "model", "variant"],
)
SLATE_CLICKS = Counter(
    "streamrec_slate_clicks_total",
    "Clicks on impressions of served slates, once each.",
    ["surface", "model", "variant"],
)

SLATE_WATCH = Counter(
    "streamrec_slate_watch_seconds_total",
    "Watch time of impressed items of served slates, the longest of each.",
    ["surface", "model", "variant"],
)
SLATE_CONVERSIONS = Counter(
    "streamrec_slate_conversions_total", "Conversions of served slates.", ["surface", "model", "variant"]
)
SLATE_VALUE = Counter(
    "streamrec_slate_value_total",
    "Value of these conversions, in units of their currency.",
    ["surface", "model", "variant"],
)
SPONSORED_REVENUE = Counter(
    "streamrec_sponsored_revenue_total",
    "Bids of clicked paid places of served slates, in units of their currency.",
    ["surface", "model", "variant"],
)
POSITION_IMPRESSIONS = Counter(
    "streamrec_position_impressions_total",
    "Impressions by place, as clients tell it.",
    ["surface", "model", "variant", "position"],
)
POSITION_CLICKS = Counter(
    "streamrec_position_clicks_total",
    "Clicks by place, as clients tell it.",
    ["surface", "model", "variant", "position"],
)
SESSION_SECONDS = Histogram(
    "streamrec_session_seconds",
    "From a session's first request to its last, by what served its first slate.",
    ["surface", "model", "variant"],
    buckets=(0, 10, 30, 60, 120, 300, 600, 1_200, 2_400, 4_800),
)
NEXT_DAY_RETURN = Gauge(
    "streamrec_next_day_return_ratio",
    "Users of a day who came the day after, of the last two whole days; two of the labels are `all`.",
    ["surface", "model", "variant"],
)
COVERAGE = Gauge(
    "streamrec_slate_coverage_items", "Distinct items among the last 10,000 places.", ["surface"]
)
NOVELTY = Gauge(
    "streamrec_slate_novelty_nats", "Mean surprise of an item among the last 10,000 places.", ["surface"]
)
DIVERSITY = Gauge(
    "streamrec_slate_diversity_ratio", "Categories of a slate over its places, lately.", ["surface"]
)
SHOWN_AGE = Gauge(
    "streamrec_slate_item_age_seconds",
    "Age of an item when shown, the median of the last 10,000 places.",
    ["surface"],
)
CATALOGUE_NEWEST = Gauge(
    "streamrec_catalogue_newest_timestamp_seconds", "Unix time when the newest item was published."
)

# alerts
ALERTS_TAKEN = Counter("streamrec_alerts_total", "Alerts read, by what became of them.", ["outcome"])
ALERTS_WAITING = Gauge("streamrec_alerts_waiting", "Changes not yet told to a receiver.", ["receiver"])
ALERT_DELIVERIES = Counter(
    "streamrec_alert_deliveries_total", "Messages to receivers by how they ended.", ["receiver", "outcome"]
)
ALERTS_DROPPED = Counter(
    "streamrec_alerts_dropped_total", "Changes never told: receiver off, expired.", ["receiver", "reason"]
)
ALERT_RECEIVER_OFF = Gauge(
    "streamrec_alert_receiver_off", "1 where a receiver answered 410 and is off.", ["receiver"]
)

# traffic (the simulator and the replay)
TRAFFIC_EVENTS = Counter("streamrec_traffic_events_total", "Event records produced.", ["topic"])
TRAFFIC_REQUESTS = Counter("streamrec_traffic_requests_total", "Requests sent.")
TRAFFIC_REPLIES = Counter("streamrec_traffic_replies_total", "Replies received.", ["outcome"])
TRAFFIC_TRUE_CLICKS = Counter(
    "streamrec_traffic_true_clicks_total",
    "Clicks expected of sampled slates: of what was shown, and of the best there was (their gap is regret).",
    ["slate"],
)
TRAFFIC_TRUE_PLACES = Counter("streamrec_traffic_true_places_total", "Places of these sampled slates.")
TRAFFIC_SECONDS = Histogram("streamrec_traffic_seconds", "From a request sent to its reply.", buckets=FINE)
