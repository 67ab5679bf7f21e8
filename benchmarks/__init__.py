"""Speed, measured side by side and told as ratios; no test times anything."""
