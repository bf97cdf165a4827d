"""Memories of other papers, built by their recipes and measured beside their claims: docs/rivals.md lists them."""
