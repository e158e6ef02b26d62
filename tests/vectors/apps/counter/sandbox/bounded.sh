# Does nothing until it is told to do it all the time.
trap 'while :; do :; done' USR1
sleep 86400 &
while :; do wait; done
