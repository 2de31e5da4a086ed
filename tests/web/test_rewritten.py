"""What an adapter's page says of a configuration that is served in other words: aloud only where somebody may miss something."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from tests.registry import adapters
from tests.registry.cast import Caller, publish

CODE = {"tokenizer_config.json": json.dumps({"auto_map": {"AutoTokenizer": ["eve--evil.Evil", None]}}).encode()}


def look(client: Client) -> tuple[list[str], list[str]]:
    """The files that the page of acme/tone-bert tells of in a banner, and those in a line beside its files."""
    page = client.get("/a/acme/tone-bert").content.decode()
    aloud = re.findall(r'<div class="banner"><p><code>([^<]*)</code> is not the publisher', page)
    return aloud, re.findall(r"<summary><code>([^<]*)</code> says the same in other words", page)


@pytest.mark.django_db
@pytest.mark.parametrize(("more", "aloud"), [({}, []), (CODE, ["tokenizer_config.json"])])
def test_a_banner_tells_of_what_was_dropped_and_a_line_of_what_has_another_form(
    client: Client, owner: Caller, base: Any, benchmark: Any, more: dict[str, bytes], aloud: list[str]
) -> None:
    publish(owner, "acme/tone-bert", adapters.lora(config=adapters.lora_config(target_modules=".*query")) | more)
    assert look(client) == (aloud, ["adapter_config.json"])
