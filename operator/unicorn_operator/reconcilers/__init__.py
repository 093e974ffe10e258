"""One pass each for a Connector, a TargetNode, an Environment. They touch no node and share no state but what they are given."""
