"""Child processes: starting them, reading their three pipes, and ending the whole process tree of an attempt."""
