#!/usr/bin/env bash
# Prints and reacts as the program does, for the tests of the kit itself. What it does depends on the words in its
# "configuration".
set -u
if [ "${1:-}" != run ]; then
    echo "no configuration" >&2
    exit 2
fi
config=$3
case $(cat "$config") in
exit) echo 'level=error event=failed' >&2; exit 1 ;;
panic) echo "thread 'shard-0' panicked at somewhere" >&2 ;;
esac
on_reload() {
    if grep -q bad "$config"; then
        echo 'level=error event=reload_failed error="it is bad"' >&2
    else
        echo 'level=info event=reloaded' >&2
    fi
}
# The shell forgets a signal that comes while it runs the same signal's trap: the trap only notes it.
pending=
trap 'pending=1' HUP
trap 'exit 0' TERM
{
    echo 'level=info event=listening frontend=web address=127.0.0.1:1234'
    echo 'level=info event=listening frontend=web address=unix:/run/web'
    [ -n "${STAND_IN_ADMIN:-}" ] && echo "level=info event=listening admin=true address=$STAND_IN_ADMIN"
    echo 'level=info event=ready'
} >&2
while :; do
    if [ -n "$pending" ]; then
        pending=
        on_reload
        continue
    fi
    # A signal ends the wait; the short sleep bounds what a signal just before it costs.
    sleep 1 >/dev/null 2>&1 &
    wait $!
done
