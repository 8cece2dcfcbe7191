"""The command line of aihw: words to calls. No science here."""
