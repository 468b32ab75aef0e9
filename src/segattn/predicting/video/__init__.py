"""Video: frames in, labels out, with their times."""
