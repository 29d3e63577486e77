"""All that ships. Nothing here imports another package of the workbench, transformers or torch."""
