"""What slates are worth: clicks, watch time, conversions, visits, and how varied and fresh they are."""
