"""What the benchmarks of judging are made of. `make bench` runs the files of bench/ itself, none of these."""
