#!/bin/sh
# Load firewall rules so that nobody is shut out for good: firewall_guard.sh load MARK SECONDS [PORT...] | confirm MARK | undo
#
# load: the declared rules, which also let in PORT; a timer of systemd takes them back after SECONDS. confirm: somebody came
# in anew through the rules with MARK, so they stay, now and at every boot. undo: back to the rules that were last confirmed,
# or to none. Whatever kills a run between load and confirm, the timer does the rest; a reboot loads confirmed rules only.
set -eu
umask 022
declared=/etc/cluster/firewall.nft proven=/etc/cluster/firewall-proven.nft tried=/run/cluster-firewall.nft
unit=cluster-firewall.service timer=cluster-firewall-undo
export PATH="$PATH:/usr/sbin:/sbin"

is_loaded() { nft list chain inet cluster "$1" >/dev/null 2>&1; }

end_timer() {
    systemctl stop --quiet "$timer.timer" 2>/dev/null || true
    systemctl reset-failed --quiet "$timer.service" "$timer.timer" 2>/dev/null || true
}

case $1 in
load)
    mark=$2 seconds=$3
    shift 3
    cat "$declared" >"$tried"
    for port; do
        echo "add element inet cluster ports_that_the_operator_came_through { $port }" >>"$tried"
    done
    nft --check --file "$tried"
    end_timer
    # Before the rules: from here on they are taken back, whatever happens to who loads them.
    systemd-run --quiet --collect --unit="$timer" --on-active="${seconds}s" --timer-property=AccuracySec=1s \
        /bin/sh "$0" undo
    nft --file "$tried"
    is_loaded "$mark"
    ;;
confirm)
    if ! is_loaded "$2"; then
        echo "the rules $2 are not loaded any more: their time was over before somebody came in through them" >&2
        exit 1
    fi
    cp "$tried" "$proven.new"
    mv -f "$proven.new" "$proven"
    end_timer
    systemctl daemon-reload
    systemctl enable --quiet "$unit"
    systemctl start "$unit"
    ;;
undo)
    if [ -e "$proven" ]; then
        nft --file "$proven"
    elif nft list table inet cluster >/dev/null 2>&1; then
        nft delete table inet cluster
    fi
    echo "nobody came in anew through the rules of $declared: back to those before them" >&2
    end_timer
    ;;
*)
    echo "usage: $0 load MARK SECONDS [PORT...] | confirm MARK | undo" >&2
    exit 2
    ;;
esac
