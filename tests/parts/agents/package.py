"""Makes the smallest package that pip, or npm, installs.

    package.py wheel|tarball FILE
"""

import io
import json
import sys
import tarfile
import zipfile

kind, path = sys.argv[1:]
if kind == "wheel":
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
else:
    manifest = json.dumps({"name": "tiny", "version": "1.0.0"}).encode()
    with tarfile.open(path, "w:gz") as tarball:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(manifest)
        tarball.addfile(entry, io.BytesIO(manifest))
