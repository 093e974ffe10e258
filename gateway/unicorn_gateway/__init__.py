"""The HTTP side: what executors and users talk to. Never imports the operator."""
