"""Data that come with the package; ATTRIBUTION.md names their source and licence."""
