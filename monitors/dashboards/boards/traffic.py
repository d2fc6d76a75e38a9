"""Traffic and click-through rate."""

from monitors.dashboards.board import Board, Row, lines, number, table

__all__ = ["TRAFFIC"]

TRAFFIC = Board(
    uid="streamrec-traffic",
    title="streamrec: traffic and CTR",
    says="What comes in, what is shown, what is clicked.",
    rows=(
        Row(
            "Now",
            (
                number(
                    "Events a second", "short", "Applied to features.", "sum(topic:streamrec_events:rate5m)"
                ),
                number("Requests a second", "reqps", "Answered by all scorers.", "streamrec:requests:rate5m"),
                number(
                    "CTR, 5 min", "percentunit", "Clicks over impressions.", "streamrec:ctr:ratio_increase5m"
                ),
                number(
                    "Errors", "percentunit", "Share of requests.", "streamrec:request_errors:ratio_rate5m"
                ),
                number("Request p99", "s", "From arrival to reply.", "streamrec:request_seconds:p99_5m"),
                number(
                    "Items", "short", "Known to the scorer.", 'max(streamrec_catalogue_items{role="scorer"})'
                ),
            ),
        ),
        Row(
            "Truth (simulated traffic)",
            (
                lines(
                    "True click rate",
                    "percentunit",
                    "Of simulated viewers: clicks to expect of what is shown, and of the best there was; "
                    "the gap is regret.",
                    (
                        "sum by (slate) (rate(streamrec_traffic_true_clicks_total[$__rate_interval])) / "
                        "ignoring (slate) group_left () "
                        "sum(rate(streamrec_traffic_true_places_total[$__rate_interval]))",
                        "{{slate}}",
                    ),
                    width=24,
                ),
            ),
        ),
        Row(
            "Click-through rate",
            (
                lines(
                    "CTR by surface and model, 5 min",
                    "percentunit",
                    "Clicks over impressions of slates that we served, joined by request.",
                    ("surface_model:streamrec_ctr:ratio_increase5m", "{{surface}} {{model}}"),
                    width=12,
                ),
                lines(
                    "CTR by surface and model, 1 h",
                    "percentunit",
                    "The same over an hour: slower and calmer.",
                    ("surface_model:streamrec_ctr:ratio_increase1h", "{{surface}} {{model}}"),
                    width=12,
                ),
                lines(
                    "Impressions and clicks",
                    "short",
                    "A second, of served slates.",
                    ("sum(rate(streamrec_slate_impressions_total[$__rate_interval]))", "impressions"),
                    ("sum(rate(streamrec_slate_clicks_total[$__rate_interval]))", "clicks"),
                    width=12,
                ),
                table(
                    "CTR over a day",
                    "percentunit",
                    "By surface and model.",
                    "surface_model:streamrec_ctr:ratio_increase1d",
                ),
            ),
        ),
        Row(
            "Events",
            (
                lines(
                    "Events by topic",
                    "short",
                    "Applied a second.",
                    ("topic:streamrec_events:rate5m", "{{topic}}"),
                    stacked=True,
                ),
                lines(
                    "Events that were not applied",
                    "short",
                    "Repeats, late ones and the like, a second.",
                    (
                        "sum by (outcome) "
                        '(rate(streamrec_events_total{outcome!="applied"}[$__rate_interval]))',
                        "{{outcome}}",
                    ),
                ),
                lines(
                    "Dead letters",
                    "short",
                    "Records refused, a second. The headers of the .DLT topic say why.",
                    (
                        "sum by (topic, reason) (rate(streamrec_dead_letters_total[$__rate_interval]))",
                        "{{topic}} {{reason}}",
                    ),
                ),
            ),
        ),
    ),
)
