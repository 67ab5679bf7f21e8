"""Builds the documentation as a site: `python -m tools.site`, or `make site`.

The pages are written for reading as they are; the site adds navigation and search. Only the
standard library and Zensical are needed, so that the site has a small environment of its own.
"""
