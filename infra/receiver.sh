#!/bin/sh
# /usr/local/sbin/receiver: runs a command with the settings of receiver.service and as its user, so
# that files it creates belong to the service.  Run it as root.
set -eu
while read -r line || [ -n "$line" ]; do
    case $line in [A-Z]*=*) export "$line" ;; esac
done < /etc/receiver/receiver.env
RECEIVER_TOKENS=$(cat /etc/receiver/tokens)
export RECEIVER_TOKENS
export RECEIVER_SPOOL=/var/lib/receiver/spool
export RECEIVER_CATALOG=/var/cache/receiver/catalog
export RECEIVER_JOBS=/var/lib/receiver/jobs
export HOME=/var/lib/receiver
cd "$HOME"
umask 0077
exec runuser --user receiver -- /opt/receiver/bin/receiver "$@"
