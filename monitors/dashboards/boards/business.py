"""What slates are worth to people and to the business."""

from monitors.dashboards.board import Board, Row, lines, number

__all__ = ["BUSINESS"]


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


BUSINESS = Board(
    uid="streamrec-business",
    title="streamrec: quality and business",
    says="Watch time, conversions, revenue, sessions, and how varied slates are.",
    rows=(
        Row(
            "Now",
            (
                number(
                    "Next-day return",
                    "percentunit",
                    "Users of a day who came the day after, of the last two whole days.",
                    "max(streamrec_next_day_return_ratio)",
                ),
                number(
                    "Session, median",
                    "s",
                    "From a session's first request to its last.",
                    "histogram_quantile(0.5, sum by (le) (rate(streamrec_session_seconds_bucket[1h])))",
                ),
                number(
                    "Coverage",
                    "short",
                    "Distinct items among the last 10,000 places.",
                    "max(streamrec_slate_coverage_items)",
                ),
                number(
                    "Novelty",
                    "short",
                    "Mean surprise of an item, in nats: how seldom it is shown.",
                    "max(streamrec_slate_novelty_nats)",
                ),
                number(
                    "Diversity",
                    "percentunit",
                    "Categories of a slate over its places.",
                    "max(streamrec_slate_diversity_ratio)",
                ),
                number(
                    "Age of what is shown",
                    "s",
                    "From an item's publication to the slate, the median of the last 10,000 places.",
                    "max(streamrec_slate_item_age_seconds)",
                ),
                number(
                    "Newest item",
                    "s",
                    "Since the newest item of the catalogue was published.",
                    "time() - max(streamrec_catalogue_newest_timestamp_seconds)",
                ),
                number(
                    "CTR expected",
                    "percentunit",
                    "What the probabilities served expect; needs no label.",
                    "max(streamrec_estimated_ctr_ratio)",
                ),
            ),
        ),
        Row(
            "Worth",
            (
                lines(
                    "Watch time by surface and variant",
                    "short",
                    "Seconds watched of served slates, a second.",
                    (
                        _rate("streamrec_slate_watch_seconds_total", "surface, variant"),
                        "{{surface}} {{variant}}",
                    ),
                ),
                lines(
                    "Conversions",
                    "short",
                    "A second, by surface and variant.",
                    (
                        _rate("streamrec_slate_conversions_total", "surface, variant"),
                        "{{surface}} {{variant}}",
                    ),
                ),
                lines(
                    "Value and sponsored revenue",
                    "short",
                    "A second, in units of their currency.",
                    (_rate("streamrec_slate_value_total", "surface"), "value {{surface}}"),
                    (_rate("streamrec_sponsored_revenue_total", "surface"), "sponsored {{surface}}"),
                ),
            ),
        ),
        Row(
            "Visits",
            (
                lines(
                    "Sessions by variant",
                    "s",
                    "From a session's first request to its last, the mean, by the arms of its first slate.",
                    (
                        "sum by (variant) (rate(streamrec_session_seconds_sum[1h])) / "
                        "sum by (variant) (rate(streamrec_session_seconds_count[1h]))",
                        "{{variant}}",
                    ),
                ),
                lines(
                    "Next-day return by variant",
                    "percentunit",
                    "Users of a day who came the day after, under whichever arm.",
                    ("max by (variant) (streamrec_next_day_return_ratio)", "{{variant}}"),
                ),
                lines(
                    "Age of what is shown, by surface",
                    "s",
                    "From an item's publication to the slate, the median.",
                    ("max by (surface) (streamrec_slate_item_age_seconds)", "{{surface}}"),
                ),
            ),
        ),
        Row(
            "Position",
            (
                lines(
                    "CTR by position",
                    "percentunit",
                    "Clicks over impressions of each place: the bias that the ranker learns to discount.",
                    (
                        _rate("streamrec_position_clicks_total", "position")
                        + " / "
                        + _rate("streamrec_position_impressions_total", "position"),
                        "place {{position}}",
                    ),
                    width=24,
                ),
            ),
        ),
    ),
)
