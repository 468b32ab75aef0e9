"""A network's way out: files that other runtimes run, each proved against the model that it was made from."""
