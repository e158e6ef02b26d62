# A health check that hangs, and leaves something running, while it is told to.
test -e /tmp/slow || exit 0
sleep 86400 &
sleep 86400
