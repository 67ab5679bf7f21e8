"""Commands that run something: servers, the worker, migrations, the demo."""
