"""Traffic that should not teach: a verdict for each event, by what its user has been doing.

`limits` declares every threshold, `conduct` is a user's bounded state and what of it breaches a limit,
`anomaly` is River's view of the same numbers, `detector` puts them together, `judge` stands beside
the fold. Pure: no clock, no Kafka. Only `anomaly`, and so `detector`, imports River.
"""
