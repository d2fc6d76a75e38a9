"""A world shaped by the KuaiRand logs: lengths, categories, creators, how active people are, when, how long.

Source: Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos"
(CIKM 2022). Durations, tags and authors: `video_features_basic_pure.csv` (7,583 videos). Hours, activity and
sessions: the 41,828 interactions of 664 users in its 15-core, hours in China's time (UTC+8).
"""

from infra.viewers.habits import Habits

__all__ = [
    "ACTIVITY_LOG_SD",
    "DURATION_LOG_SD",
    "DURATION_MEDIAN_S",
    "HOURS",
    "KUAIRAND",
    "SESSION_LOG_SD",
    "TAG_SHARES",
]

DURATION_MEDIAN_S = 81.2
DURATION_LOG_SD = 1.03
AUTHORS_A_VIDEO = 6_510 / 7_583
TAG_SHARES = (  # the 20 most frequent of 110, which are on 78 % of the videos
    0.109, 0.087, 0.056, 0.05, 0.046, 0.045, 0.044, 0.041, 0.039, 0.039,
    0.032, 0.029, 0.028, 0.026, 0.023, 0.019, 0.018, 0.018, 0.017, 0.013,
)  # fmt: skip
ACTIVITY_LOG_SD = 0.70  # of interactions a user
# Half an hour without a row parts two sessions: 20,756 of them, 2.8 on a day that a user comes. The log has
# only what was liked or hated, so 61 % show one row and no length; these figures are of the other 39 %.
SESSION_MEDIAN_S = 780.0
SESSION_LOG_SD = 1.09
SLATE_S = 52.0  # assumed: from one request to the next; what was shown and left alone is not in the log
HOURS = (  # interactions in each hour of the day over the mean hour
    0.83, 0.44, 0.23, 0.14, 0.12, 0.16, 0.41, 0.67, 0.81, 0.96, 1.09, 1.25,
    1.64, 1.45, 1.01, 0.98, 1.21, 1.46, 1.52, 1.52, 1.46, 1.6, 1.7, 1.35,
)  # fmt: skip

KUAIRAND = Habits(
    viewers=10_000,
    items=2_000,
    creators=int(2_000 * AUTHORS_A_VIDEO),
    duration_median_ms=int(1_000 * DURATION_MEDIAN_S),
    duration_log_sd=DURATION_LOG_SD,
    category_shares=TAG_SHARES,
    activity_log_sd=ACTIVITY_LOG_SD,
    session_requests=SESSION_MEDIAN_S / SLATE_S,
    session_log_sd=SESSION_LOG_SD,
    hours=HOURS,
)
