#!/usr/bin/env bash
# tokenize_test.sh: text to ids and back at the command line, and how it fails.
set -euo pipefail
bastide=${1:-${BASTIDE:-build/src/cli/bastide}}
[ -x "$bastide" ] || { echo "tokenize: there is no program at '$bastide': set BASTIDE."; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/tokenizer.json" <<'END'
{"added_tokens": [{"id": 0, "content": "<s>", "special": true}],
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
 "post_processor": {"type": "TemplateProcessing",
   "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
   "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
 "decoder": {"type": "ByteLevel"},
 "model": {"type": "BPE", "vocab": {"a": 1, "b": 2, "ab": 3, "<": 4, "s": 5, ">": 6},
           "merges": ["a b"]}}
END

# expect NAME WANT GOT
expect() {
    [ "$2" = "$3" ] || { printf 'FAILED %s: expected "%s", got "%s"\n' "$1" "$2" "$3"; exit 1; }
}
status() {
    local code=0
    "$@" > /dev/null 2> "$folder/err" || code=$?
    printf '%s' "$code"
}
run() { "$bastide" tokenize --model "$folder" "$@"; }

expect plain '3 1' "$(printf aba | run)"
expect json '{"ids": [3, 1]}' "$(printf aba | run --json)"
expect special '{"ids": [0, 3]}' "$(printf ab | run --json --special)"
expect "no special from text" '4 5 6' "$(printf '<s>' | run)"
expect empty '{"ids": []}' "$(run --json < /dev/null)"
expect "bare file" '3' "$(printf ab | "$bastide" tokenize --model "$folder/tokenizer.json")"
expect "decode json" 'aba' "$(printf '{"ids": [0, 3, 1]}' | run --decode)"
expect "decode list" '<s>ab' "$(printf '[0, 3]' | run --decode --special)"
expect "decode words" 'ab' "$(printf ' 1\n2 ' | run --decode)"
expect "unknown byte" 2 "$(printf z | status run)"
expect "unknown id" 2 "$(printf 99 | status run --decode)"
expect "no id" 2 "$(printf 'x' | status run --decode)"
expect "no model" 2 "$(status "$bastide" tokenize < /dev/null)"
missing=$(status "$bastide" tokenize --model "$folder/none" < /dev/null)
[ "$missing" != 0 ] && grep -q none "$folder/err" || { echo "FAILED missing: $missing"; exit 1; }
echo '{"model": 1}' > "$folder/tokenizer.json"
[ "$(status run < /dev/null)" != 0 ] && grep -q tokenizer.json "$folder/err" ||
    { echo "FAILED broken file"; exit 1; }
echo "tokenize: all as expected"
