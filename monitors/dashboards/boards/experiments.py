"""Arms of experiments side by side."""

from monitors.dashboards.board import Board, Row, lines, table

__all__ = ["EXPERIMENTS"]

EXPERIMENTS = Board(
    uid="streamrec-experiments",
    title="streamrec: experiments",
    says="Arms side by side. A difference here is no verdict.",
    rows=(
        Row(
            "Arms",
            (
                lines(
                    "CTR by arm, 1 h",
                    "percentunit",
                    "Clicks over impressions; an arm's name holds its layer.",
                    ("variant:streamrec_ctr:ratio_increase1h", "{{variant}}"),
                    width=12,
                ),
                lines(
                    "Share of impressions by arm",
                    "percentunit",
                    "It should be the share of users that the arm was given.",
                    (
                        "sum by (variant) (increase(streamrec_slate_impressions_total[1h]))"
                        " / ignoring (variant) group_left ()"
                        " (sum(increase(streamrec_slate_impressions_total[1h])) > 0)",
                        "{{variant}}",
                    ),
                    width=12,
                ),
                table(
                    "Impressions over a day",
                    "short",
                    "By arm and model.",
                    "sum by (variant, model) (increase(streamrec_slate_impressions_total[1d]))",
                ),
                table(
                    "Clicks over a day",
                    "short",
                    "By arm and model.",
                    "sum by (variant, model) (increase(streamrec_slate_clicks_total[1d]))",
                ),
            ),
        ),
    ),
)
