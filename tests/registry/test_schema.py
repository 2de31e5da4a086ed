"""The OpenAPI document: made without a warning, true to what is answered."""

import json
from typing import Any

import jsonschema
import pytest

from registry.models import Version
from tests.registry import adapters
from tests.registry.cast import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def document(anybody: Caller) -> dict[str, Any]:
    """The document as it is served."""
    response = anybody.client.get("/api/v1/schema")
    assert response.status_code == 200
    return json.loads(response.content)


def test_the_document_is_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        validate_schema(SchemaGenerator().get_schema(public=True))
    told = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert told == []


def test_every_route_says_what_it_does(document: dict[str, Any]) -> None:
    operations = [
        operation for path in document["paths"].values() for operation in path.values() if isinstance(operation, dict)
    ]
    assert len(operations) >= 25
    assert all(operation["description"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])


def test_the_files_of_a_base_model_are_objects_and_no_leaves(document: dict[str, Any]) -> None:
    for body in ("NewBaseModel", "NewLocatedBase", "NewBaseFiles"):
        told = document["components"]["schemas"][body]["properties"]["files"]["items"]
        assert set(told["properties"]) == {"path", "size", "sha256"}, body


ANSWERS = {
    "Summary": "adapters",
    "AdapterDetail": "adapters/acme/tone-bert",
    "VersionShort": "adapters/acme/tone-bert/versions",
    "VersionDetail": "adapters/acme/tone-bert/versions/1",
    "Resolved": "resolve?ref=acme/tone-bert&base=tiny-bert",
    "BaseModelShape": "base-models/tiny-bert?tensors=1",
    "Matrix": "base-models/tiny-bert/matrix",
    "MatrixRow": "base-models/tiny-bert/matrix?adapter=acme/tone-bert",
    "BenchmarkDetail": "benchmarks/acme/tone",
    "PolicyShape": "policies/acme",
    "Me": "me",
    "Problem": "adapters/acme/nothing",
}


def open_api_to_json_schema(value: Any) -> Any:
    """Return a schema of OpenAPI 3.0 as JSON Schema: `nullable` becomes a type, objects are closed."""
    if isinstance(value, list):
        return [open_api_to_json_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: open_api_to_json_schema(item) for key, item in value.items() if key != "nullable"}
    if "properties" in found and isinstance(found["properties"], dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return {"anyOf": [found, {"type": "null"}]} if value.get("nullable") is True else found


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answers_are_as_the_document_says(
    owner: Caller, published: Version, document: dict[str, Any], name: str
) -> None:
    answer = owner.get(ANSWERS[name]).json
    value = answer["results"][0] if "results" in answer else answer
    value = value["rows"][0] if name == "MatrixRow" else value
    schema = {"$ref": f"#/components/schemas/{name}", "components": open_api_to_json_schema(document["components"])}
    jsonschema.validate(value, schema)


def test_what_fits_is_as_the_document_says(anybody: Caller, published: Version, document: dict[str, Any]) -> None:
    tiny = adapters.tiny().to_json()
    checked = anybody.post("compat/check", {"leaves": tiny["leaves"], "config": tiny["config"]}).json
    summary = anybody.get("base-models/tiny-bert/adapters")["results"][0]
    fitting = anybody.get("adapters/acme/tone-bert/versions/1/fits")["results"][0]
    held = anybody.get(f"by-hash/{published.digest}")["results"][0]
    for name, value in (("Checked", checked), ("Summary", summary), ("Held", held), ("FittingBase", fitting)):
        schema = {"$ref": f"#/components/schemas/{name}", "components": open_api_to_json_schema(document["components"])}
        jsonschema.validate(value, schema)


def test_an_upload_is_as_the_document_says(owner: Caller, base, document: dict[str, Any]) -> None:
    answer = owner.start("acme/tone-bert", adapters.lora()).json
    schema = {"$ref": "#/components/schemas/UploadShape", "components": open_api_to_json_schema(document["components"])}
    jsonschema.validate(answer, schema)
