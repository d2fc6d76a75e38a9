"""What slates are worth to people and to the business."""

from monitors.dashboards.board import Board, Row, lines, number, table

__all__ = ["BUSINESS"]

EACH = "surface, model, variant"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def _over(metric: str, by: str, kind: str = "slate") -> str:
    """An hour of a metric over the impressions of that hour."""
    impressions = f"sum by ({by}) (increase(streamrec_{kind}_impressions_total[1h]))"
    return f"sum by ({by}) (increase({metric}[1h])) / ({impressions} > 0)"


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
                    'max(streamrec_next_day_return_ratio{surface="all", model="all", variant="all"})',
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
            "By model, 1 h",
            (
                table(
                    "Watch time",
                    "s",
                    "Seconds watched an impression, by surface, model and arm.",
                    _over("streamrec_slate_watch_seconds_total", EACH),
                    width=8,
                ),
                table(
                    "Conversion",
                    "percentunit",
                    "Conversions an impression, by surface, model and arm.",
                    _over("streamrec_slate_conversions_total", EACH),
                    width=8,
                ),
                table(
                    "Sponsored revenue",
                    "short",
                    "Of 1,000 impressions, in units of the currency, by surface, model and arm.",
                    "1000 * " + _over("streamrec_sponsored_revenue_total", EACH),
                    width=8,
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
                    ('max by (variant) (streamrec_next_day_return_ratio{variant!="all"})', "{{variant}}"),
                ),
                lines(
                    "Next-day return by surface and model",
                    "percentunit",
                    "Users whom the surface, or the model, served on a day and who came the day after.",
                    ('max by (surface) (streamrec_next_day_return_ratio{surface!="all"})', "{{surface}}"),
                    ('max by (model) (streamrec_next_day_return_ratio{model!="all"})', "{{model}}"),
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
                    width=12,
                ),
                table(
                    "CTR by arm and position, 1 h",
                    "percentunit",
                    "An arm that only moves clicks up the slate shows here.",
                    _over("streamrec_position_clicks_total", "variant, position", "position"),
                ),
            ),
        ),
    ),
)
