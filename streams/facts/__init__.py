"""What happened, as the fold takes it: events with their coordinates, what each did, what a user keeps."""
