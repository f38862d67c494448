#!/bin/sh
# What a container looks at before it becomes its service: entrypoint.sh COMMAND ARGUMENT...
#
# The command is the service's own, as on a host; it replaces this program. Exits 1 with one line when the container was
# not given what the service needs: a service that starts all the same fails later, and says less.
set -eu

refuse() {
    echo "${CLUSTER_NODE_NAME:-container}: $1" >&2
    exit 1
}

# Secrets are mounted files that keep their owner and mode, and none of them may be copied to widen either.
for secret in "${RAY_AUTH_TOKEN_PATH:-}" "${CLUSTER_API_KEY_FILE:-}"; do
    [ -n "$secret" ] || continue
    [ -e "$secret" ] || refuse "$secret is missing; give it as a secret of the compose file"
    [ -r "$secret" ] || refuse "$secret is of user $(stat -c %u "$secret") and not for user $(id -u), whom the image was \
built for; run: python -m containers, and build again"
    [ -s "$secret" ] || refuse "$secret is empty; remove the file and run: python -m containers"
done

for argument in "$@"; do
    case $argument in
        # Ray moves its object store to the disk when shared memory is too small, and is slow ever after.
        --object-store-memory=*)
            wanted_kib=$((${argument#*=} / 1024))
            found_kib=$(df -Pk /dev/shm | awk 'NR == 2 { print $2 }')
            [ "$found_kib" -ge "$wanted_kib" ] ||
                refuse "/dev/shm has $found_kib KiB, the object store takes $wanted_kib KiB; set shm_size"
            ;;
        --temp-dir=*) mkdir -p "${argument#*=}" ;;
        # The worker's memory of its last port (rejoin.py): in a new volume its directory is not there yet.
        /*/*.node-manager-port) mkdir -p "${argument%/*}" ;;
    esac
done

exec "$@"
