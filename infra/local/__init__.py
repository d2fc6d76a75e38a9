"""`streamrec up`: broker, Redis, every role and traffic on one machine, watched and stopped in order."""
