"""The crash test: kills the engine with SIGKILL, again and again, while people talk to it.

    python -m tests.crash --kills 500        (or: make crash N=500)

`killer` is the driver: it starts engines (`engines`, forked from `template` or whole with
`ai-assistant run`), lets `people` speak the web chat's wire protocol, kills, and starts again at
once. `judge` looks at what the people saw and at the log file, at nothing else. Lost, doubled and
unknown must be 0.
"""
