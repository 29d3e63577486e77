"""Measure the code that ships, choose, report. Knows nothing of torch: it starts processes and reads records."""
