#!/bin/sh
# Copy a directory from the control node's depot: fetch_from_depot.sh HOST PORT MODULE NAME DIRECTORY MARKER
#
# DIRECTORY appears only when it is whole (MARKER in it). Resumes, gives up on a stalled transfer after a minute and tries
# five times in all. A runtime without its marker is ours and is replaced; a model without its marker may hold what somebody
# put there, and is refused.
set -eu
host=$1 port=$2 module=$3 name=$4 directory=$5 marker=$6
mkdir -p "$(dirname "$directory")" 2>/dev/null || true
exec 9>"$directory.lock"
flock 9
[ -e "$directory/$marker" ] && exit 0
if [ "$module" = runtime ]; then
    rm -rf "$directory"
elif [ -e "$directory" ] || [ -L "$directory" ]; then
    echo "$directory is there without $marker, so nobody knows if it is whole; remove it and it is copied again" >&2
    exit 1
fi
work="$directory.partial"
try=1
until rsync --archive --partial --timeout=60 --contimeout=10 --port="$port" "rsync://$host/$module/$name/" "$work/"; do
    [ "$try" -ge 5 ] && { echo "$directory: copy from $host failed $try times; is cluster-depot running there?" >&2; exit 1; }
    try=$((try + 1))
done
[ -e "$work/$marker" ] || { echo "$directory: $host has no whole copy ($marker is missing)" >&2; exit 1; }
mv -T "$work" "$directory"
