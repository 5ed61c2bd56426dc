import shutil
import tempfile
from pathlib import Path

import pytest

from dev.instance import Instance
from dev.machine import outside_home


@pytest.fixture(scope="module")
def project():
    """An empty checkout that the servers' account may enter: pytest's own folders are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="pulposus-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(outside_home(folder), ignore_errors=True)


@pytest.fixture
def instance(project):
    """Stopped before and after; only the first one has to make its database, which takes a second."""
    instance = Instance("test", project)
    yield instance
    instance.stop()
