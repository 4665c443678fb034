"""Where images come to rest."""
