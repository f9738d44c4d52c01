"""文档摘要 on texts of many kinds: from the source's own sentences, and never over 30 %."""

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.skills.base import ModelUnavailable, SkillContext
from adapters.skills.extract import ELLIPSIS, cut, split, summarise
from adapters.skills.languages import language_of
from adapters.skills.summary import DocumentSummary
from tests.skill_tests.texts import ALL, CONTRACT_EN, MAIL_EN, MINUTES_ZH, NEWS_EN, NEWS_ZH

WITHOUT_MODEL = DocumentSummary(SkillContext())


def of_the_source(summary: str, text: str) -> bool:
    """Whether it is sentences of the text, or the beginning of one with an ellipsis."""
    rest = summary
    while rest:
        known = [s.text for s in split(text) if rest.startswith(s.text)]
        if not known:
            return "\n" not in rest and rest.endswith(ELLIPSIS) and rest[:-1] in text
        rest = rest[len(max(known, key=len)) :].removeprefix("\n")
    return True


@pytest.mark.parametrize("name", ALL)
def test_each_sentence_is_the_sources_and_all_are_at_most_30_percent(name: str) -> None:
    text = ALL[name]
    summary = WITHOUT_MODEL.execute(text)
    assert summary
    assert len(summary) <= 0.3 * len(text)
    assert of_the_source(summary, text)
    for line in summary.removesuffix(ELLIPSIS).split("\n"):
        assert line in text


def test_there_are_more_than_ten_texts_in_both_languages() -> None:
    assert len(ALL) >= 10
    assert {language_of(text) for text in ALL.values()} == {"zh", "en"}


def test_the_summary_says_what_the_text_is_about() -> None:
    assert "地铁十二号线将于明年三月一日全线通车" in summarise(NEWS_ZH)
    assert "replace its diesel cranes with electric ones by 2028" in summarise(NEWS_EN)
    assert "会议决定：搜索功能先对百分之五的用户开放" in summarise(MINUTES_ZH)


def test_greetings_and_headings_are_no_summary() -> None:
    for text in (MAIL_EN, CONTRACT_EN, MINUTES_ZH):
        for line in summarise(text).split("\n"):
            assert line not in ("Hi all,", "Best,", "Term.", "Fees.", "讨论", "Liability.")


def test_equal_texts_give_equal_summaries_under_any_hash_seed() -> None:
    program = (
        "from tests.skill_tests.texts import ALL\n"
        "from adapters.skills.extract import summarise\n"
        "print(ascii([summarise(text) for text in ALL.values()]))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {ascii([summarise(text) for text in ALL.values()]).encode() + b"\n"}


def test_a_single_long_sentence_is_cut_at_a_clause() -> None:
    text = (
        "因为天气一直不好，所以我们把原定在周六举行的野餐推迟到了下个周日，"
        "地点不变，请大家互相转告一下。"
    )
    assert WITHOUT_MODEL.execute(text) == "因为天气一直不好…"


def test_a_text_without_any_boundary_is_cut_where_the_room_ends() -> None:
    text = "字" * 100
    assert WITHOUT_MODEL.execute(text) == "字" * 29 + ELLIPSIS
    assert cut("one two three", 9) == "one two…"
    assert cut("one", 9) == "one"
    assert cut("one two", 1) == ""


@pytest.mark.parametrize(
    ("text", "locale", "answer"),
    [
        ("", "zh-CN", "没有找到要摘要的文字"),
        ("  \n ", "", "没有找到要摘要的文字"),
        ("……！", "en", "There is no text to summarise"),
        ("明天下午开会。", "", "这段文字不长"),
        ("See you tomorrow.", "", "This text is short enough"),
    ],
)
def test_nothing_and_too_little_get_a_sentence_that_says_so(
    text: str, locale: str, answer: str
) -> None:
    assert DocumentSummary(SkillContext(locale=locale)).execute(text).startswith(answer)


def test_a_repeated_sentence_is_said_once() -> None:
    text = "甲方应当在收到发票以后三十天以内付款。乙方应当按时交货。" * 10
    lines = summarise(text).split("\n")
    assert len(lines) == len(dict.fromkeys(lines)) > 1


def test_abbreviations_decimals_and_wrapped_lines_do_not_end_a_sentence() -> None:
    text = "Dr. Weiss measured 9.5 decibels at\nnight, e.g. in St. Ann Street. Mr. Li did not."
    assert [sentence.text for sentence in split(text)] == [
        "Dr. Weiss measured 9.5 decibels at\nnight, e.g. in St. Ann Street.",
        "Mr. Li did not.",
    ]


def test_list_marks_are_left_out_and_numbers_are_not() -> None:
    text = "- 第一件事\n* second thing\n1. 三\n(2) four\n3.5 percent more\n十二个人到场"
    assert [sentence.text for sentence in split(text)] == [
        "第一件事",
        "second thing",
        "三",
        "four",
        "3.5 percent more",
        "十二个人到场",
    ]


@given(st.text(st.sampled_from("ab字句，。.!?\n\t 1-•“”…、A"), max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_summary_within_its_bounds(text: str) -> None:
    summary = summarise(text)
    assert len(summary) <= 0.3 * len(text)
    assert of_the_source(summary, text)


@pytest.mark.parametrize(
    "piece", ["a. ", "e.g. ", "字。", "a\n", "，", "“", "1. ", "((", "x" * 60 + "\n"]
)
def test_a_long_text_of_one_thing_takes_no_time_to_speak_of(piece: str) -> None:
    text = piece * (16_384 // len(piece))
    assert len(summarise(text)) <= 0.3 * len(text)


# ---- through the model ---------------------------------------------------------------------------


def with_model(answer: str | Exception, *languages: str) -> tuple[DocumentSummary, list[str]]:
    """The skill with a model that answers so, and the prompts that it was given."""
    prompts: list[str] = []

    def ask(prompt: str, max_tokens: int, within_ms: int) -> str:
        prompts.append(prompt)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return DocumentSummary(SkillContext(ask=ask, model_languages=languages)), prompts


def test_a_model_that_speaks_the_texts_language_is_asked() -> None:
    skill, prompts = with_model(" Electric cranes replace diesel ones. ", "en")
    assert skill.execute(NEWS_EN) == "Electric cranes replace diesel ones."
    assert prompts[0].endswith(NEWS_EN)
    skill, prompts = with_model("地铁通车。", "en", "zh")
    assert skill.execute(NEWS_ZH) == "地铁通车。"
    assert prompts[0].startswith("请用不超过三句话")


def test_a_model_that_does_not_speak_it_is_not_asked() -> None:
    skill, prompts = with_model("nonsense", "en")
    assert skill.execute(NEWS_ZH) == summarise(NEWS_ZH)
    assert prompts == []


@pytest.mark.parametrize(
    "answer", [ModelUnavailable("deadline"), ModelUnavailable("failed"), " ", "blah " * 500]
)
def test_without_a_usable_answer_the_summary_is_of_the_texts_sentences(
    answer: str | Exception,
) -> None:
    skill, prompts = with_model(answer, "en")
    assert skill.execute(NEWS_EN) == summarise(NEWS_EN)
    assert len(prompts) == 1


@pytest.mark.parametrize("name", ALL)
def test_a_models_summary_too_is_at_most_30_percent_of_the_text(name: str) -> None:
    text = ALL[name]
    most = int(0.3 * len(text))
    skill, _ = with_model(f"  {'x' * most}\n", "en", "zh")
    assert skill.execute(text) == "x" * most
    skill, _ = with_model("x" * (most + 1), "en", "zh")
    assert skill.execute(text) == summarise(text)


def test_of_a_very_long_text_the_model_gets_the_best_sentences() -> None:
    text = "\n\n".join(f"{NEWS_EN} This is part {n} of it." for n in range(12))
    skill, prompts = with_model("short", "en")
    assert skill.execute(text) == "short"
    assert len(prompts[0]) < 4_200


# ---- languages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("请把这份合同的要点告诉我。", "zh"),
        ("请看一下 README 和 pyproject.toml 里的 version", "zh"),
        ("The meeting is on Friday, and you should be there.", "en"),
        ("Das Treffen ist am Freitag, und wir kommen nicht mit dem Zug.", "de"),
        ("Le rendez-vous est pour vendredi et nous ne sommes pas dans la salle.", "fr"),
        ("La reunión es el viernes y no se puede cambiar para los demás.", "es"),
        ("会議は金曜日です。よろしくお願いします。", "ja"),
        ("회의는 금요일입니다.", "ko"),
        ("Встреча будет в пятницу.", "ru"),
        ("请总结一下季度报告", "zh"),
        ("今天天气", "zh"),
        ("我们用Kubernetes部署", "zh"),
        ("请 summarise 报告", "zh"),
        ("これはテストです", "ja"),
        ("これは試験です", "ja"),
        ("Привет, как дела?", "ru"),
        ("Summarise the quarterly report.", ""),  # one common word is too few to tell
        ("naïve café, Straße", ""),
        ("hello", ""),
        ("ສະບາຍດີ", ""),
        ("Müller Schmidt Meyer Krause", ""),
        ("12345 !!!", ""),
        ("12:30 🎉 !!!", ""),
        ("", ""),
    ],
)
def test_the_language_is_told_by_script_and_common_words(text: str, language: str) -> None:
    assert language_of(text) == language


def test_the_metadata_is_as_the_interface_gives_it() -> None:
    metadata = WITHOUT_MODEL.get_metadata()
    assert (metadata["name"], metadata["version"]) == ("文档摘要", "1.0")
    assert metadata["trigger_words"][:2] == ["摘要", "总结"]
    assert {"summarise", "summarize"} <= set(metadata["trigger_words"])
    assert re.fullmatch(r"\d+\.\d+", WITHOUT_MODEL.get_metadata()["version"])
