#!/bin/sh
# Copy a directory from the control node's depot: fetch_from_depot.sh HOST PORT MODULE NAME DIRECTORY MARKER [mend]
#
# DIRECTORY appears only when it is whole (MARKER in it). Resumes, gives up on a stalled transfer after a minute and tries
# five times in all. A runtime without its marker is ours and is replaced; a model without its marker may hold what somebody
# put there, and is refused. mend: DIRECTORY is there and some of its files are damaged; what is right of it stays.
set -eu
host=$1 port=$2 module=$3 name=$4 directory=$5 marker=$6
mkdir -p "$(dirname "$directory")" 2>/dev/null || true
exec 9>"$directory.lock"
flock 9
if [ "${7:-}" = mend ] && [ -d "$directory" ] && [ ! -L "$directory" ]; then
    rm -rf "$directory.partial"
    mv -T "$directory" "$directory.partial"
fi
[ -e "$directory/$marker" ] && exit 0
if [ "$module" = runtime ]; then
    rm -rf "$directory"
elif [ -e "$directory" ] || [ -L "$directory" ]; then
    echo "$directory is there without $marker, so nobody knows if it is whole; remove it and it is copied again" >&2
    exit 1
fi
work="$directory.partial"
# What is there already is compared by its contents: a damaged file may have its size and its time.
compare=
[ ! -e "$work" ] || compare=--checksum
try=1
until rsync --archive $compare --partial --timeout=60 --contimeout=10 --port="$port" "rsync://$host/$module/$name/" "$work/"; do
    [ "$try" -ge 5 ] && { echo "$directory: copy from $host failed $try times; is cluster-depot running there?" >&2; exit 1; }
    try=$((try + 1))
done
[ -e "$work/$marker" ] || { echo "$directory: $host has no whole copy ($marker is missing)" >&2; exit 1; }
mv -T "$work" "$directory"
