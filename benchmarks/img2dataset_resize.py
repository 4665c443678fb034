"""img2dataset's resizer on the files of a list, in its own environment; prints its CPU seconds.

PYTHON benchmarks/img2dataset_resize.py LIST SIZE [OUTPUT]
"""

import io
import sys
import time
from pathlib import Path

from img2dataset.resizer import Resizer  # type: ignore[import-not-found]

bodies = [Path(line).read_bytes() for line in Path(sys.argv[1]).read_text().splitlines()]
resize = Resizer(int(sys.argv[2]), "border", False, encode_format="jpg", encode_quality=95)
resize(io.BytesIO(bodies[0]))
began = time.process_time()
results = [resize(io.BytesIO(body)) for body in bodies]
spent = time.process_time() - began
for number, (image, *_, error) in enumerate(results):
    if error is not None:
        sys.exit(f"image {number}: {error}")
    if len(sys.argv) > 3:
        Path(sys.argv[3], f"{number}.jpg").write_bytes(image)
print(spent)
