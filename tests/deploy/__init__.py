"""What is in deploy/, and docs/operations.md, as an operator uses them. `make deploy-check` does what takes minutes."""
