"""What people touch: the `ai-assistant` command line, the HTTP API and the web pages.

    main.py        the command's entry: looks that the packages are ours, then hands over
    commands/      one file for each command: what a person may say, and how they are answered
    reads.py       what a data directory's log says of sessions, messages and dead letters
    client.py      what a running engine is asked over HTTP and WebSocket
    checkup.py     what `doctor` looks at
    http/, pages/  the app that a running engine serves

The last layer: it knows all others and nothing knows it. What it never does: decide anything about
a session, or write to a log.
"""
