"""Files: what callers upload, and what the archive keeps."""
