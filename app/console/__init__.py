"""The operator's console: pages for a browser, upon the same services as the API.

It is a layer above the API only for what both edges share: how errors become a status, how cursors
are written, and whose request counts as known. It uses no route of the API's.
"""
