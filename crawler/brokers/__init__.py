"""Where tasks wait: one contract, kept in memory, on file, and from afar."""
