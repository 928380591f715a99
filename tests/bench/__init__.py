"""What `make bench` measures, each figure beside the one it has to stand up to, in one run."""
