"""The domain: resources, names, reasons, errors, the connector protocol and the planning policies. No I/O."""
