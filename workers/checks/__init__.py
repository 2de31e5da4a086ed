"""What a run looks at, one file a subject.

A check takes what it needs and returns a `ledger.Finding`; it raises `errors.Rejected` where nothing that follows it can
run. It tells no stage, holds no state and knows nothing of the story (`workers.engine`).
"""
