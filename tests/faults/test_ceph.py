"""The same promises on Ceph's gateway, a second and independent S3 server that also checks signatures."""

import os
import shutil
import signal
import subprocess
import threading

import boto3
import pytest
from scored_world import FACTS, curate, make_world, scored_rows

from tasks import _ray
from tasks._store import Store
from tasks._versions import differences, open_version
from tasks.deliver_dataset import deliver_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PARTS = ("ceph-mon", "ceph-osd", "radosgw")
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:7480",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


@pytest.fixture(scope="module")
def ceph(root, tmp_path_factory):
    if not all(map(shutil.which, PARTS)):
        pytest.skip(
            f"needs {', '.join(PARTS)}: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw"
        )
    folder = tmp_path_factory.mktemp("ceph")
    with (folder / "start.log").open("wb") as log:
        subprocess.run(
            ["bash", root / "tests" / "support" / "ceph_gateway.sh", folder / "cluster"],
            stdout=log, stderr=log, check=True, timeout=300,
        )  # fmt: skip
    before = dict(os.environ)
    os.environ.update(SETTINGS)
    try:
        # A session of its own: the default one keeps the key of the first server that was asked in this process.
        boto3.Session().client("s3").create_bucket(Bucket="bucket")
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for file in ("rgw.pid", "osd.pid", "mon.pid"):
            os.kill(int((folder / "cluster" / file).read_text()), signal.SIGKILL)


@pytest.fixture
def store(ceph, request):
    return Store(f"s3://bucket/{request.node.name}")


def test_it_passes_the_probe(store):
    store.probe()


def test_one_of_many_racers_wins_and_pointers_move_only_from_what_was_read(store, figure):
    races, wins = 50, []
    for race in range(races):
        barrier = threading.Barrier(8)

        def run(number, race=race, barrier=barrier):
            barrier.wait()
            if store.create(f"prize-{race}", str(number).encode()):
                wins.append(race)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(wins) == list(range(races))
    assert store.swap("latest", None, b"1")
    assert not store.swap("latest", b"0", b"2")
    assert store.swap("latest", b"1", b"2")
    figure("Eight writers of one name on Ceph", races=races, winners=f"1 in each of {races}")


def test_a_night_is_published_and_verified(store, tmp_path, monkeypatch):
    monkeypatch.setattr(_ray, "map_chunks", lambda open_work, chunks, **_: map(open_work(), chunks))
    world = curate(make_world(tmp_path, scored_rows(prompts=12), store=store.uri))
    for _ in range(2):  # the second time it finds everything there
        delivered = deliver_dataset(world.tables, FACTS, store_uri=store.uri, dataset="tiny")
    version = open_version(store.uri, "tiny")
    assert version.manifest_sha256 == delivered.manifest_sha256
    assert not list(differences(version))
