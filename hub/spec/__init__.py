"""The ground: the format of adapters, base models, benchmarks and reports, and the rules about them.

Pure typed values. Nothing here opens a file, a socket or a model; client, registry and workers all stand on
it, so that a question such as "does this adapter fit this base model?" is answered in one place only. Import
the modules.
"""
