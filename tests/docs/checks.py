"""What may be wrong with a page. Each check takes one and returns its faults in words; none is an empty list."""

import argparse
import re
import urllib.parse

from tests.docs import known, pages
from tests.docs.pages import ROOT, Page

# Where a command may stand: at the start of a line or span, behind a prompt, within YAML, behind another command.
COMMAND = r"(?:^\s*(?:- )?(?:run: )?(?:\$ )?|(?:&&|\|\||;)\s*)"
MAKE = re.compile(rf"{COMMAND}make ([a-z][\w-]*)(?=(.*))")
MANAGE = re.compile(r"manage\.py ([a-z]\w*)(?=(.*))")
HUB = re.compile(rf"{COMMAND}hub ([a-z][\w-]*)(?=(.*))")
END = re.compile(r"\s#|\s\|\|?\s|\s&&\s|;")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?![\w-])")
VARIABLE = re.compile(rf"(?<![A-Z0-9_]){known.OURS.pattern}")
DEFAULTED = re.compile(r"\$\{(HUB_\w+):-")
ROOMS = re.compile(r"(?:hub|registry|workers|templates|tests|docker|docs|bench|demo)/[\w./*-]*")


def links(page: Page) -> list[str]:
    """Relative links and anchors that lead nowhere."""
    return [fault for link in page.links if (fault := _link(page, link))]


def _link(page: Page, link: str) -> str:
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (page.path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else page.path
    if not target.is_relative_to(ROOT) or not (target == page.path or target.exists()):
        return f"{page.name}: {link} is not there"
    if not parts.fragment:
        return ""
    there = page if target == page.path else pages.read(target) if target.suffix == ".md" else None
    if there is None or parts.fragment not in there.anchors:
        return f"{page.name}: {link} names no heading"
    return ""


def make(page: Page) -> list[str]:
    """Targets and variables that the Makefile does not have."""
    faults = []
    for target, rest in _found(MAKE, page):
        if target not in known.targets():
            faults.append(f"{page.name}: make {target} is no target of the Makefile")
        unknown = set(re.findall(r"\b([A-Z_]+)=", rest)) - known.make_variables()
        faults += [f"{page.name}: make {target} {name}=... is no variable of the Makefile" for name in sorted(unknown)]
    return faults


def manage(page: Page) -> list[str]:
    """Commands of manage.py that are none, and options that ours do not have."""
    faults = []
    for command, rest in _found(MANAGE, page):
        if command not in known.commands():
            faults.append(f"{page.name}: manage.py {command} is no command")
            continue
        options = known.command_options(command)
        unknown = [] if options is None else [option for option in OPTION.findall(rest) if option not in options]
        faults += [f"{page.name}: manage.py {command} has no option {option}" for option in unknown]
    return faults


def client(page: Page) -> list[str]:
    """Verbs, actions and options that the client's command line does not have."""
    return [f"{page.name}: {fault}" for verb, rest in _found(HUB, page) if (fault := _verb(verb, rest))]


def _verb(verb: str, rest: str) -> str:
    parser = known.verbs_of(known.client()).get(verb)
    if parser is None:
        return f"hub {verb} is no verb"
    actions, words = known.verbs_of(parser), rest.split()
    if actions and words:
        if words[0] not in actions:
            return f"hub {verb} {words[0]} is no action"
        verb, parser = f"{verb} {words[0]}", actions[words[0]]
    return _options(verb, parser, rest)


def _options(verb: str, parser: argparse.ArgumentParser, rest: str) -> str:
    unknown = [option for option in OPTION.findall(rest) if option not in known.options_of(parser)]
    return f"hub {verb} has no option {', '.join(unknown)}" if unknown else ""


def variables(page: Page) -> list[str]:
    """HUB_... that nothing reads: no code, no docker/compose.yaml, no script of the page with a default for it."""
    scripts = "\n".join(block.text for block in page.blocks if block.language == "bash")
    read = known.variables() | set(DEFAULTED.findall(scripts))
    return [f"{page.name}: nothing reads {name}" for name in sorted(set(VARIABLE.findall(page.text)) - read)]


def paths(page: Page) -> list[str]:
    """Files and folders of the project, in code spans, that are not there, and that git would not ignore."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    named = [span for span in page.spans if ROOMS.fullmatch(span) and span not in ignored]
    return [f"{page.name}: {name} is not there" for name in named if not any(ROOT.glob(name.rstrip("/")))]


def undescribed(*described: Page) -> list[str]:
    """HUB_... that the settings read and none of these pages describes."""
    told = {name for page in described for name in VARIABLE.findall(page.text)}
    return [f"{name} is read and nowhere described" for name in sorted(known.settings() - told)]


def _found(pattern: re.Pattern[str], page: Page) -> list[tuple[str, str]]:
    """(name, the rest of the command up to a comment or the next command), wherever code of a page has one."""
    matches = [match for text in page.code for match in pattern.finditer(text)]
    return [(match[1], END.split(match[2], maxsplit=1)[0]) for match in matches]
