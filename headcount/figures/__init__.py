"""Figures, one function each; nothing here imports matplotlib before a figure is asked for by its module."""
