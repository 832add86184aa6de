#!/usr/bin/env bash
# A worker with the command line: takes surveys until none is left. TRACECRAFT_AGENT says who it is.
# While one_package.sh runs, tracecraft renews the lease; when it ends well, tracecraft completes the task.
set -u
here=$(cd "$(dirname "$0")" && pwd)

while true; do
    tracecraft claim --next 'survey.*' --lease 3s --wait 60s --exec -- bash "$here/one_package.sh"
    case $? in
        0) ;;                 # done, the next one
        3 | 4) ;;             # somebody else was faster, or took it over
        7) break ;;           # nothing is left
        *) exit 1 ;;
    esac
done
