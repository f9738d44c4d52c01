"""The skill of the lab: it says again what was said, so that people know an answer as theirs."""

from adapters.skills.base import AISkill, SkillMetadata

WORD = "repeat"


class Echo(AISkill):
    """Answers `repeat X` with itself."""

    def execute(self, input_text: str) -> str:
        return f"{WORD} {input_text}"

    def get_metadata(self) -> SkillMetadata:
        return {"name": "echo", "version": "1", "trigger_words": [WORD]}
