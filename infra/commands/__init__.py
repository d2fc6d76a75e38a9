"""One file per group of commands; each adds itself to the app. Heavy imports stay inside functions."""
