"""Requests as runners get them, for the tests of models."""

from engine.effects import ModelRequest, PromptLine

SYSTEM = "You are a helpful assistant."


def request(*said: str, effect_id: str = "effect", max_tokens: int = 64) -> ModelRequest:
    """Return a request: a system line, then these lines of user and assistant in turn."""
    lines = [PromptLine(role="system", text=SYSTEM)]
    for at, text in enumerate(said):
        lines.append(PromptLine(role=("user", "assistant")[at % 2], text=text))
    return ModelRequest(
        effect_id=effect_id,
        session_id="session",
        reply_id="reply",
        lines=tuple(lines),
        max_tokens=max_tokens,
        stream=True,
        expires_ms=0,
        request_digest="digest",
    )
