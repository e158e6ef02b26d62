# Leaves a process to its init, says what it was given, and has its checks take longer while it is told to.
trap 'touch /tmp/slow' USR1
trap 'rm -f /tmp/slow' USR2
(sleep 1 & echo "orphan $!")
test -t 0 && echo "a terminal"
echo "somaxconn $(cat /proc/sys/net/core/somaxconn)"
echo "msgmax $(cat /proc/sys/kernel/msgmax)"
ls -1 /part
sleep 86400 &
while :; do wait; done
