"""Memories of other papers, built by their recipes and measured beside their claims; one module each, docs/rivals.md lists them."""
