#!/bin/sh
# The API tests: serve_test.sh API_SERVER SOURCE_FOLDER faults|openai
# faults needs python3 alone. openai needs the openai package: it is taken from the Python that
# BASTIDE_PYTHON names, or put into a virtual environment in a scratch folder. Where neither is
# possible the test says so and exits with 77, which counts as skipped.
set -u
server=$1 here=$2 which=$3
python3 -c '' 2>/dev/null || { echo "SKIPPED: no python3"; exit 77; }
scratch=$(mktemp -d) || exit 1
pid=
trap 'test -n "$pid" && kill -9 "$pid" 2>/dev/null; rm -rf "$scratch"' EXIT

if [ "$which" = faults ]; then
    python3 "$here/faults_client.py" "$server" "$scratch"
    exit $?
fi

python=${BASTIDE_PYTHON:-}
if [ -z "$python" ]; then
    python=$scratch/venv/bin/python
    if ! python3 -m venv "$scratch/venv" >/dev/null 2>&1 ||
        ! "$python" -m pip install -q openai >/dev/null 2>&1; then
        echo "SKIPPED: the openai package cannot be installed; set BASTIDE_PYTHON to a Python with it"
        exit 77
    fi
fi
"$python" -c 'import openai' 2>/dev/null || { echo "SKIPPED: $python has no openai"; exit 77; }

"$server" model "$scratch/tiny" 512 || exit 1
key=$("$server" init "$scratch/workspace" | cut -d' ' -f1)
"$server" serve "$scratch/workspace" tiny="$scratch/tiny" 2>"$scratch/log" &
pid=$!
url=
for i in $(seq 100); do
    url=$(sed -n "s/.*listening on //p" "$scratch/log")
    grep -q ": ready" "$scratch/log" && break
    sleep 0.1
done
"$python" "$here/openai_client.py" "$url" "$key" tiny
status=$?
kill -TERM "$pid"
wait "$pid" || { echo "the server did not end with 0"; status=1; }
pid=
grep -F "$key" "$scratch/log" && { echo "the key is in the log"; status=1; }
test $status -eq 0 || tail -20 "$scratch/log"
exit $status
