"""How runs are taken up again, and how their end is judged."""
