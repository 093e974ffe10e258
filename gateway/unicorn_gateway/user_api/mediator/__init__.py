"""netunicorn's mediator v1, for the unmodified RemoteClient: its routes, encodings, statuses and texts over our resources and
records. Pickles pass through as bytes: nothing here loads or makes one. What the client does is an Experiment like any other."""
