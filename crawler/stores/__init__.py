"""Where images come to rest: the one place that decides by the output what keeps them."""

from __future__ import annotations

from crawler.contracts import JobFolder
from crawler.errors import UsageError
from crawler.outputs import Output
from crawler.stores.directory import FileFolder


def open_folder(output: Output, job: str, endpoint: str = "") -> JobFolder:
    """Return the folder of `job` in `output`; `endpoint` is where an object store answers, if not as usual.

    Raises UsageError where what it takes is not installed.
    """
    if output.directory is not None:
        return FileFolder(output.directory / job)
    try:
        from crawler.stores.objects import QUICK, ObjectFolder, connect
    except ModuleNotFoundError as error:
        raise UsageError(f"{output} needs obstore: pip install 'distributed-image-crawler[objects]'") from error
    return ObjectFolder(f"{output}/{job}", connect(output, job, endpoint), connect(output, job, endpoint, QUICK))
