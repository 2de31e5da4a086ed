"""What a newcomer sees first: a small benchmark of our own making, one trained adapter, and the five pushes of `make demo`.

sentences  writes the benchmark's sentences      train   trains an adapter on them (or on any data of that form)
pushes     makes the five adapters               hubs    starts a hub, fills it
__main__   plays the main job end to end
"""
