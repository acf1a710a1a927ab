"""The embedded store: one file, one writer, read connections beside it."""
