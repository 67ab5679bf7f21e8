"""Commands that call a running gateway, as a service would."""
