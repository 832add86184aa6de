"""What happens to a run inside the process that works on it: recorded here, delivered to the log."""
