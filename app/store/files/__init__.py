"""The store of files: results that are copied into the archive."""
