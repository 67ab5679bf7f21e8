"""Files: results that outlive their source."""
