#!/bin/sh
# A training run killed (SIGKILL) at random moments and resumed until it is done ends in the same
# bytes as one that nobody touched. usage: kill_test.sh BASTIDE [KILLS_AT_MOST]
set -eu
bastide=$(realpath "$1")
most=${2:-12}
folder=$(mktemp -d "${TMPDIR:-/tmp}/bastide-kill-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# Some text of our own, so that there is something to learn: numbers in words.
awk 'BEGIN {
    split("one two three four five six seven eight nine ten", word, " ")
    for (i = 0; i < 4000; i++)
        printf "%s and %s are %d\n", word[i % 10 + 1], word[i * 7 % 10 + 1], i % 10 + i * 7 % 10 + 2
}' >numbers.txt
cat >recipe.yaml <<'RECIPE'
name: numbers
out: killed
run: run-killed
data: {path: numbers.txt, split: tail}
tokenizer: {bytes: true}
model: {layers: 2, width: 32, heads: 2, context: 32}
train: {windows: 32, row_tokens: 128, steps: 2500, rate: 0.003, checkpoint_every: 20,
        evaluate_every: 500}
RECIPE

"$bastide" train recipe.yaml --set out=whole --set run=run-whole --json >whole.json 2>whole.log

kills=0
status=1
while [ "$status" -ne 0 ]; do
    "$bastide" train recipe.yaml --resume --set train.threads=$((kills % 2 + 1)) --json \
        >killed.json 2>killed.log &
    child=$!
    if [ "$kills" -lt "$most" ]; then
        pause=$(od -An -N1 -tu1 /dev/urandom | awk '{ printf "%.3f", 0.05 + $1 / 255 * 0.6 }')
        sleep "$pause"
        kill -9 "$child" 2>/dev/null && kills=$((kills + 1))
    fi
    status=0
    wait "$child" || status=$?
    case $status in
    0 | 137) ;;
    *) cat killed.log >&2; echo "status $status after $kills kills" >&2; exit 1 ;;
    esac
done

first=$(sha256sum <whole/model.safetensors)
second=$(sha256sum <killed/model.safetensors)
loss() { sed 's/.*"validation_loss":\([0-9.]*\).*/\1/' "$1"; }
echo "$kills kills; validation loss $(loss whole.json) and $(loss killed.json)"
[ "$first" = "$second" ] || { echo "the model files differ" >&2; exit 1; }
[ "$(loss whole.json)" = "$(loss killed.json)" ] || { echo "the losses differ" >&2; exit 1; }
[ "$kills" -gt 0 ] || { echo "no kill fell within the run" >&2; exit 1; }
[ -s run-killed/report.html ] && [ -s run-killed/recipe.yaml ]

# What a finished or foreign folder is answered, and a plan over its limit.
refused() {
    words=$1
    shift
    if "$bastide" train recipe.yaml "$@" 2>refused.log; then
        echo "not refused: $*" >&2
        exit 1
    fi
    grep -q "$words" refused.log || { cat refused.log >&2; exit 1; }
}
refused "say resume"
refused "holds another run" --resume --set train.rate=0.5
refused "would fit" --dry-run --set memory=6MiB --set run=unused
[ ! -e unused ]
