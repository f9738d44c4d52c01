"""Web chat over real sockets: wire protocol, channel, HTTP app."""
