"""The prose of the catalogue, one module for each family of claims; each defines `ENTRIES`."""
