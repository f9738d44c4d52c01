"""文档摘要: a summary of the text that the flow chose, at most 30 % of its length.

Through the model where that speaks the text's language, else of the text's own sentences
(`extract.py`). What it never does: fail because the model did. An answer that does not come in
time, or is longer than that, is done without.
"""

from adapters.skills.base import AISkill, ModelUnavailable, SkillMetadata
from adapters.skills.extract import SHARE_MAX, summarise
from adapters.skills.languages import language_of

CHARS_MIN = {"zh": 40, "ja": 40, "ko": 40}
CHARS_MIN_ELSE = 120
"""A shorter text is read faster than its summary is asked for, and 30 % of it is no sentence."""

MODEL_CHARS_MAX = 4_000
"""A small model attends to about a thousand tokens; of a longer text it gets the best sentences."""
MODEL_SENTENCES_MAX = 60

MODEL_SHARE = 0.7
"""Of the time that is left: the rest is for doing without."""

PROMPTS = {
    "zh": "请用不超过三句话概括下面的文字，只写概括：\n\n{text}",
    "en": (
        "Summarise the following text in at most three sentences. Write only the summary.\n\n{text}"
    ),
}
PROMPT_ELSE = (
    "Summarise the following text in at most three sentences, in the text's own language."
    " Write only the summary.\n\n{text}"
)
TRIGGER_WORDS = [
    "摘要",
    "总结",
    *(
        f"{begin}{verb}{what}"
        for verb in ("summarise", "summarize")
        for begin, ends in (
            ("", ("", " it", " this", " this text", " the following")),
            ("please ", ("", " this")),
        )
        for what in ends
    ),
]
"""What a person says before a text, or of a text that is there: `summarise this` names one that is
quoted, or was written before, so its `this` must not count as the text."""

NOTHING = {
    "zh": "没有找到要摘要的文字。请把文字写在“摘要”之后，或者引用一条消息。",
    "en": "There is no text to summarise. Write it after the word “summarise”, or quote a message.",
}
TOO_SHORT = {
    "zh": "这段文字不长，不需要摘要（{least} 个字以上才摘要）。",
    "en": "This text is short enough to read as it is; a summary needs {least} characters.",
}


class DocumentSummary(AISkill):
    """The built-in skill 文档摘要."""

    def get_metadata(self) -> SkillMetadata:
        """Its name, and the words that start it."""
        return {"name": "文档摘要", "version": "1.0", "trigger_words": TRIGGER_WORDS}

    def execute(self, input_text: str) -> str:
        """The summary; for a text too short for one, a sentence that says so."""
        text = input_text.strip()
        if not any(char.isalnum() for char in text):
            return NOTHING["zh" if self.context.locale.startswith("zh") or not text else "en"]
        language = language_of(text)
        least = CHARS_MIN.get(language, CHARS_MIN_ELSE)
        if len(text) < least:
            return TOO_SHORT["zh" if language == "zh" else "en"].format(least=least)
        if language in self.context.model_languages:
            try:
                return self._ask_model(text, language)
            except ModelUnavailable:
                pass
        return summarise(text)

    def _ask_model(self, text: str, language: str) -> str:
        """The model's summary. Raises ModelUnavailable, also for one of over 30 % of the text."""
        shown = text
        if len(text) > MODEL_CHARS_MAX:
            share = MODEL_CHARS_MAX / len(text)
            shown = summarise(text, share=share, sentences=MODEL_SENTENCES_MAX)
        prompt = PROMPTS.get(language, PROMPT_ELSE).format(text=shown)
        within_ms = int(min(self.context.remaining_ms(), 3_600_000) * MODEL_SHARE)
        answer = self.context.model(prompt, within_ms=within_ms).strip()
        if not 0 < len(answer) <= int(len(text) * SHARE_MAX):
            raise ModelUnavailable("failed")
        return answer
