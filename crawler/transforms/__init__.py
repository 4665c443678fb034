"""Images made smaller, cut, encoded anew, or left out by their size, on their way into a dataset."""
