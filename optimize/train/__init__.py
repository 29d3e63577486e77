"""Train the small built-in model, or fine-tune any source, on labelled Korean text."""
