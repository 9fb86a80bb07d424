"""The words of the trade: frozen records and the seams between packages. Standard library only."""
