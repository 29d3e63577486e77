"""The words every stage shares: plan, records, store, paths, machine facts, errors. Imports the standard library alone."""
