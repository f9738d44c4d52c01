"""Skills: capabilities of the assistant that run in processes of their own, which can be killed.

registry.py    which skills there are; asks each for its metadata, in a child process
metadata.py    what a skill says of itself, checked
runner.py      `SkillPool`, the SkillRunner port: warm workers, bounds, kills, replacements
crew.py        the warm workers: a fixed number, replaced as they die
process.py     one worker process as its parent sees it
wire.py        the frames between the two
worker.py      the child: loads the skills, runs one call at a time
base.py        `AISkill` and `SkillContext`: all that the author of a skill needs
summary.py     the built-in 文档摘要; extract.py and languages.py are its pure parts
"""
