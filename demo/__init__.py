"""What a newcomer sees first: a small benchmark of our own making, one trained adapter, and the five pushes of `make demo`.

base       where the base model lies            sentences  writes the benchmark's sentences
train      trains an adapter on them            shipped    what ships, laid out as a benchmark
hubs       starts a hub, fills it               pushes     makes and pushes the five adapters
__main__   plays the main job end to end        content    fills the hub of `make up`
"""
