"""Does the model still tell the truth? Labels held against what was believed."""
