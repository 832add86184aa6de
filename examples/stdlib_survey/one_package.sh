#!/usr/bin/env bash
# One survey, run under a claim: tracecraft has put the task's id into TRACECRAFT_TASK.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
package=${TRACECRAFT_TASK#survey.}

echo "$TRACECRAFT_AGENT has $TRACECRAFT_TASK"
findings=$(python "$here/analyse.py" "$package")
# Compare-and-set: whoever took the task over from a dead worker may find its findings there already.
tracecraft memory set "findings.$package" "$findings" --if-absent >/dev/null \
    || tracecraft memory get "findings.$package" >/dev/null
tracecraft memory merge survey.progress "{\"$package\": \"$TRACECRAFT_AGENT\"}" >/dev/null
tracecraft send writer "$package is analysed" --kind finding --thread "$TRACECRAFT_TASK" >/dev/null
tracecraft complete "$TRACECRAFT_TASK" --note "analysed from bash" >/dev/null
