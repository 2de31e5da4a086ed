"""What is said of a version whose run waits for a worker."""

import pytest

from registry.queries import reports
from registry.queries.viewers import ANYBODY
from tests.registry import factories

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("state", "told"), [("claimed", reports.NO_WORKER), ("observed", None)])
def test_a_run_that_no_worker_can_take_yet_says_what_it_waits_for(state, told):
    version = factories.make_version(status="validating", base=factories.make_base_model(state=state))
    found = reports.of(version, ANYBODY)
    assert (found["verdict"], found["stage"], found.get("summary")) == (None, "queued", told)


def test_its_page_says_so_too(client):
    version = factories.make_version(status="validating", base=factories.make_base_model(state="claimed"))
    client.force_login(factories.make_membership(namespace=version.adapter.namespace).user)
    page = client.get(f"/a/{version.adapter.namespace.name}/{version.adapter.name}/v/{version.number}/report")
    assert "No worker has had this base model yet" in page.content.decode()
