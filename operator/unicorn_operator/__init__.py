"""The operator: watches resources, plans, acts, writes status. Nodes are touched by operations only."""
