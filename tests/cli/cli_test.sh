#!/usr/bin/env bash
# cli_test.sh: the program on ordinary and hostile input: exit status, sentence, and what is left.
#
# BASTIDE is the program; the helpers api_server and sign_folder lie in its build folder. Every
# check prints a line only when it fails. Exit status 0: all held; 77: the program is not there.
set -u
program=${BASTIDE:-build/src/cli/bastide}
[ -x "$program" ] || { echo "cli: there is no program at '$program': set BASTIDE."; exit 77; }
command -v python3 >/dev/null || { echo "cli: python3 is needed."; exit 77; }
program=$(realpath "$program")
build=$(realpath "$(dirname "$program")/../..")
api_server=$build/tests/api/api_server
sign_folder=$build/tests/cli/sign_folder
[ -x "$api_server" ] && [ -x "$sign_folder" ] ||
    { echo "cli: the helpers are not built in '$build'."; exit 77; }

work=$(mktemp -d /tmp/cli_test_XXXXXX)
mounted=no holder=
finish() {
    [ -z "$holder" ] || kill "$holder" 2>/dev/null
    [ $mounted = no ] || umount "$work/full"
    rm -rf "$work"
}
trap finish EXIT
cd "$work" || exit 1
unset BASTIDE_WORKSPACE
checks=0 wrong=0

lose() {
    wrong=$((wrong + 1))
    printf 'WRONG: %s\n' "$*"
    sed 's/^/    out: /' out 2>/dev/null | head -n 5
    sed 's/^/    err: /' err 2>/dev/null | head -n 5
}

# expect STATUS PATTERN ARGUMENT...: runs the program; PATTERN (fixed text) is in what it printed.
# An error is one line on standard error that starts with the program's name, and never a crash.
expect() {
    local status=$1 pattern=$2 got=0
    shift 2
    checks=$((checks + 1))
    timeout 60 "$program" "$@" >out 2>err </dev/null || got=$?
    [ "$got" = "$status" ] || { lose "$* ends with $got, expected $status"; return; }
    cat out err | grep -qF -- "$pattern" || { lose "$*: '$pattern' is missing"; return; }
    [ "$status" = 0 ] || [ "$(grep -c '^bastide: ' err)" = 1 ] || lose "$*: not one sentence"
}

# expect_json ARGUMENT...: exit status 0 and one JSON value on standard output.
expect_json() {
    expect 0 '{' "$@"
    python3 -m json.tool <out >/dev/null 2>&1 || lose "$*: what it printed is not JSON"
}

# ---- words ----

helps() {
    local name
    for name in $("$program" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
        expect 0 "usage: bastide $name" "$name" --help
        [ "$name" = help ] || grep -q '^example: bastide ' out || lose "$name --help: no example"
        expect 0 "usage: bastide $name" help "$name"
    done
    [ $checks -ge 24 ] || lose "only $checks commands are listed"
    expect 0 'Exit status' --help
    expect 0 'bastide ' --version
    expect 2 "unknown command 'dat' (did you mean 'data'?)" dat
    expect 2 'unknown option --jsno (did you mean --json?)' data check x --jsno
    expect 2 'unknown option --templat (did you mean --template?)' model show x --templat
    expect 2 'is one word too many' doctor now
    expect 2 'must be a whole number' data show x --count -1
    expect 2 'needs a value' data show x --count
    expect 2 'takes no value' model show x --json=yes
    expect 2 'say: bastide data check' data
    expect 2 'the form is: bastide data check PATH' data check
    expect 2 'say: bastide model show FOLDER' model shwo
}

# ---- datasets ----

datasets() {
    cat >good.jsonl <<'END'
{"text": "the printer is on fire", "label": "hardware", "id": "t1"}

{"text": "forgot my password", "label": "account", "context": "floor: 3"}
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
END
    printf '%s\n' '{"text": "a", "label": "x"}' 'not json' '{"txt": "a"}' '{"label": "x"}' \
        '{"text": 3}' '{"messages": [{"role": "assistant", "content": "x"}]}' '[]' >bad.jsonl
    printf '{"text": "\xff\xfe"}\n{"text": "a\\u0000b"}\n' >>bad.jsonl
    printf '{"text": "b", "label": "%0200d"}\n{"text": "cut' 0 >>bad.jsonl
    expect 0 'good: 3 records, 1 of them with messages' data check good.jsonl
    expect 0 'account                  1' data check good.jsonl
    expect_json data check good.jsonl --json
    expect 0 'printer' data show good.jsonl --count 1
    grep -q password out && lose "data show --count 1 shows two records"
    expect 3 'bad.jsonl: 10 lines are wrong' data check bad.jsonl
    local line
    for line in 2 3 4 5 6 7 8 9 10 11; do
        grep -q "^bad.jsonl:$line[: ]" out || lose "data check does not name line $line"
    done
    expect 3 'bad.jsonl:4: a record needs' data check bad.jsonl
    expect 3 "did you mean 'text'?" data check bad.jsonl
    expect 3 '"valid":false' data check bad.jsonl --json
    python3 -m json.tool <out >/dev/null 2>&1 || lose "data check --json of a bad file: no JSON"
    yes 'nope' | head -n 200 >many.jsonl
    expect 3 '100 lines are wrong, the rest was not read' data check many.jsonl
    : >empty.jsonl
    expect 2 'there is no record in it' data check empty.jsonl
    expect 4 'absent.jsonl' data check absent.jsonl
    expect 2 'is no folder and ends in none of' data check "$program"
    python3 -c 'print("{\"text\": \"" + "a" * 2000000 + "\"}")' >long.jsonl
    expect 3 'long.jsonl:1' data check long.jsonl
    python3 -c 'print("[" * 100000)' >deep.jsonl
    expect 3 'deep.jsonl:1' data check deep.jsonl
    printf '{"text": "a\\u001b[2Jb"}\n' >escape.jsonl
    expect 0 '\x1b[2J' data show escape.jsonl
    printf 'Package: htop\nVersion: 1\nSection: utils\nDescription: processes viewer\n' >dump
    expect 0 'catalogue' data import-catalogue dump cat.jsonl
    expect 0 'cat: 1 records' data check cat.jsonl
    printf 'no field at all\n' >dump
    expect 3 'dump:1' data import-catalogue dump cat2.jsonl
    [ ! -e cat2.jsonl ] || lose "a failed import leaves a file"
}

# ---- model folders ----

# spoil FILE PYTHON: b is the bytes of FILE; the expression gives what is written instead.
spoil() {
    python3 - "$1" "$2" <<'END'
import json, struct, sys
b = open(sys.argv[1], 'rb').read()
size = struct.unpack('<Q', b[:8])[0]
head = lambda: json.loads(b[8:8 + size])
def pack(h):
    text = json.dumps(h).encode()
    return struct.pack('<Q', len(text)) + text + b[8 + size:]
open(sys.argv[1], 'wb').write(eval(sys.argv[2]))
END
}

# said ARGUMENT...: what the model says.
said() {
    "$program" generate tiny --plain --tokens 12 "$@" x 2>err || lose "generate $*"
}

# The flags of the sampler are its table: each is known, held to its range, and acts.
sampling() {
    local name greedy drawn
    greedy=$(said)
    drawn=$(said --temperature 1.5 --seed 3)
    [ "$greedy" != "$drawn" ] || lose "temperature 1.5 says what greedy says"
    [ "$drawn" = "$(said --temperature 1.5 --seed=3 --top-k -1 --min-p 0)" ] ||
        lose "options that do nothing change the answer"
    [ "$greedy" = "$(said --temperature 1.5 --seed 3 --top-k 1)" ] || lose "--top-k 1 is not greedy"
    [ "$greedy" = "$(said --temperature 2 --min-p 1 --top-p 0.9)" ] || lose "--min-p 1 is not greedy"
    [ "$greedy" != "$(said --logit-bias '{"90": 100}')" ] || lose "--logit-bias does nothing"
    said --dry-multiplier 1 --dry-sequence-breakers '["\n", "x"]' --repetition-penalty 1.2 >out
    [ "${greedy:0:1}" != "$(said --stop "${greedy:0:1}")" ] || lose "--stop does not stop"
    said --stop '["a", "b"]' >out
    for name in temperature top-k top-p min-p typical-p repetition-penalty presence-penalty \
        frequency-penalty repeat-last-n dry-multiplier dry-base dry-allowed-length \
        dry-penalty-last-n; do
        expect 2 "--$name must be a" generate tiny --$name -77 x
        expect 2 "--$name must be a" generate tiny --$name many x
    done
    expect 2 '--logit-bias must be an object' generate tiny --logit-bias 5 x
    expect 2 'logit_bias names token 999999' generate tiny --logit-bias '{"999999": 1}' x
    expect 2 '--dry-sequence-breakers must be a list' generate tiny --dry-sequence-breakers a x
    expect 2 '--stop must be a text or a list' generate tiny --stop '["a", 1]' x
    expect 2 'did you mean --top-k' generate tiny --topk 3 x
}

# spoiled STATUS PATTERN FILE PYTHON: show and generate both refuse a folder with that file.
spoiled() {
    rm -rf broken
    cp -r tiny broken
    spoil "broken/$3" "$4"
    expect "$1" "$2" model show broken
    expect "$1" "$2" generate broken --plain --tokens 1 x
    expect "$1" "$2" model export broken broken.gguf
    [ ! -e broken.gguf ] || lose "an export that failed left a file"
}

# spoiled_but_shown: the same, for what keeps a folder from running but not from being looked at.
spoiled_but_shown() {
    rm -rf broken
    cp -r tiny broken
    spoil "broken/$3" "$4"
    expect 0 "$2" model show broken
    expect "$1" "$2" generate broken --plain --tokens 1 x
    expect "$1" "$2" model export broken broken.gguf
    [ ! -e broken.gguf ] || lose "an export that failed left a file"
}

# One model through every layout and back: the same weights, the same logits.
layouts() {
    local want from
    expect 0 "every value is the source's" model export tiny native --format mistral
    expect 0 "every value is the source's" model import native from_native
    expect 0 "every value is the source's" model import tiny.gguf from_gguf
    expect 0 "every value is the source's" model export tiny from_hf --format hf
    expect 0 '' model logits tiny --tokens 5,6,7,8 --json
    want=$(sha256sum <out)
    for from in from_native from_gguf from_hf; do
        cmp -s tiny/model.safetensors $from/model.safetensors || lose "$from has other weights"
        expect 0 '' model logits $from --tokens 5,6,7,8 --json
        [ "$(sha256sum <out)" = "$want" ] || lose "$from gives other logits"
    done
    cmp -s tiny/tokenizer.json from_hf/tokenizer.json || lose "from_hf has another tokenizer"
    expect 0 '' generate from_gguf --plain --tokens 3 --temperature 0 'a b'
    expect 5 'exists' model import native from_native
    expect 0 'Would write' model import native dry --dry-run
    [ ! -e dry ] || lose "a dry run wrote something"
    expect 2 '--format must be' model export tiny x --format onnx
    expect 2 '--tokens' model logits tiny
    expect 2 'outside of the vocabulary' model logits tiny --tokens 99999
    expect 4 'nothing' model import tiny /proc/nothing/x
    printf 'PK\3\4more' >model.bin
    expect 3 'a pickle' model show model.bin
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n' >pointer.gguf
    expect 3 'Git LFS pointer' model import pointer.gguf x
    [ ! -e x ] || lose "a failed import left a folder"
}

models() {
    "$api_server" model tiny || lose "api_server makes no model"
    expect 0 'llama (LlamaForCausalLM)' model show tiny
    expect 0 'not signed' model show tiny
    expect 0 '<|assistant|>' model show tiny --template
    expect_json model show tiny --json
    expect 4 "no model folder 'nowhere'" model show nowhere
    expect 4 nowhere generate nowhere --tokens 1 x
    sampling
    local type
    for type in f32 f16 bf16 q8_0; do
        expect 0 "matrices as $type" model export tiny "tiny-$type.gguf" --type $type
        [ "$(head -c 4 "tiny-$type.gguf")" = GGUF ] || lose "export --type $type is no GGUF"
        expect 0 "layout      gguf" model show "tiny-$type.gguf"
    done
    expect_json model export tiny tiny.gguf --json
    # The file answers as the folder does, template and all.
    "$program" generate tiny --tokens 12 "what is this" >folder.out 2>err || lose "generate tiny"
    "$program" generate tiny.gguf --tokens 12 "what is this" >file.out 2>err ||
        lose "generate tiny.gguf"
    cmp -s folder.out file.out || lose "tiny.gguf answers otherwise than its folder"
    expect 2 '--type must be one of f32, f16, bf16, q8_0' model export tiny x.gguf --type q4
    layouts
    local weights=model.safetensors tokens=tokenizer.json
    spoiled 3 model.safetensors $weights 'b[:len(b) - 100]'
    spoiled 3 model.safetensors $weights 'b[:5]'
    spoiled 3 model.safetensors $weights 'b""'
    spoiled 7 model.safetensors $weights 'b"\xff" * 8 + b[8:]'
    spoiled 3 model.safetensors $weights 'struct.pack("<Q", len(b)) + b[8:]'
    spoiled 3 'model.norm.weight' $weights \
        'pack({**head(), "model.norm.weight": {"dtype": "F32", "shape": [2**40],
         "data_offsets": [0, 2**42]}})'
    spoiled 3 'is missing' $weights \
        'pack({("x" if k == "model.norm.weight" else k): v for k, v in head().items()})'
    spoiled 3 config.json config.json 'b[:20]'
    spoiled_but_shown 3 "'gpt5'" config.json 'b.replace(b"\"llama\"", b"\"gpt5\"")'
    spoiled 3 hidden_size config.json 'b.replace(b"\"hidden_size\": 64", b"\"hidden_size\": -1")'
    spoiled 3 'another shape' config.json \
        'b.replace(b"\"hidden_size\": 64", b"\"hidden_size\": 128")'
    spoiled_but_shown 3 tokenizer.json $tokens 'b.replace(b"\"a\": ", b"\"a\": 9", 1)'
    spoiled_but_shown 3 tokenizer.json $tokens 'b.replace(b"\"a\": ", b"\"a\": -", 1)'
    spoiled_but_shown 3 tokenizer.json $tokens 'b[:len(b) // 2]'
    spoiled_but_shown 3 tokenizer.json $tokens 'b.replace(b"\"BPE\"", b"\"WordPiece\"")'
    rm -rf broken && cp -r tiny broken && rm broken/model.safetensors
    expect 4 model.safetensors model show broken
}

signatures() {
    "$sign_folder" tiny keys || lose "sign_folder does not sign"
    expect 0 'Whole: ' verify tiny --key keys/sign.pub
    expect_json verify tiny --json
    expect 0 'whole, as signed by key' model show tiny
    local file
    for file in tiny/*; do
        file=${file#tiny/}
        rm -rf broken
        cp -r tiny broken
        spoil "broken/$file" 'b[:len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1:]'
        checks=$((checks + 1))
        "$program" verify broken --key keys/sign.pub >out 2>err && lose "a bit of $file may change"
        grep -q '^bastide: ' err || lose "verify of a changed $file says nothing"
    done
    rm -rf broken && cp -r tiny broken && rm broken/config.json
    expect 6 config.json verify broken
    rm -rf broken && cp -r tiny broken && echo x >broken/more
    expect 6 more verify broken
    expect 4 'not signed' verify keys
    "$sign_folder" tiny keys2 && expect 6 '' verify tiny --key keys/sign.pub
}

# ---- workspaces and the machine ----

workspaces() {
    expect_json init --workspace ws --json
    expect 5 ws init --workspace ws
    expect 4 nowhere key list --workspace nowhere
    expect 0 first key list --workspace ws
    expect 0 "'ws' opens; nobody serves it" doctor --workspace ws
    expect_json doctor --workspace ws --json
    expect 0 "there is no 'nowhere' yet" doctor --workspace nowhere
    mkdir plain && echo x >plain/bastide.db
    expect 10 'found 1 thing to repair' doctor --workspace plain
    expect_json ops --json
    command -v flock >/dev/null || { echo "cli: without flock the lock is not tested."; return; }
    flock --no-fork ws/up.lock sleep 60 >/dev/null 2>&1 &
    holder=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        flock -n ws/up.lock true || break
        sleep 0.1
    done
    expect 5 'ws' up --workspace ws --port 0 tiny=tiny
    expect 0 'locked' doctor --workspace ws
}

# Types, mixtures and proofs of the model `tiny`, which cannot be good but must be whole.
quantisation() {
    seq 1 20000 >text
    expect 0 'q8_0' quantise tiny q8.gguf --type Q8_0 --threads 1
    [ "$(head -c 4 q8.gguf)" = GGUF ] || lose "quantise --type: no GGUF"
    expect_json quantise tiny fit.gguf --fit 1GB --calibrate text --calibrate-tokens 512 \
        --prove text --prove-tokens 1024 --save-imatrix imatrix.gguf --threads 1 --json
    grep -q '"kl"' out || lose "quantise --prove: no divergence"
    expect 0 'predicted' quantise tiny --dry-run --imatrix imatrix.gguf --threads 1
    expect 2 'is unknown' quantise tiny x.gguf --type q9
    expect 2 'bytes are needed, the budget is 10' quantise tiny x.gguf --fit 10
    expect 2 'must be a size' quantise tiny x.gguf --fit much
    expect 2 'choose one of --type and --fit' quantise tiny x.gguf --type q4_k --fit 1GB
    expect 2 'the form is' quantise tiny
    expect 4 'absent' quantise tiny x.gguf --calibrate absent
    expect 2 'tokens' quantise tiny x.gguf --prove /dev/null
    [ ! -e x.gguf ] || lose "a quantise that failed left a file"
}

full_disk() {
    mkdir full
    if mount -t tmpfs -o size=64k none full 2>/dev/null; then
        mounted=yes
        expect 9 'full/' model export tiny full/tiny.gguf
        expect 9 'full/' data import-catalogue many_dump full/out.jsonl
    else
        echo "cli: no tmpfs can be mounted here: a limit of file size stands for a full disk."
        local real=$program
        printf '#!/usr/bin/env bash\ntrap "" XFSZ\nulimit -f 64\nexec %q "$@"\n' "$real" >limited
        chmod +x limited
        program=./limited
        expect 9 'full/' model export tiny full/tiny.gguf
        program=$real
    fi
    [ -z "$(ls -A full)" ] || lose "a full disk leaves $(ls -A full)"
}

python3 - >many_dump <<'END'
for i in range(2000):
    print(f"Package: p{i}\nVersion: 1\nSection: utils\nDescription: {'long ' * 20}{i}\n")
END
helps
datasets
models
quantisation
signatures
workspaces
full_disk
echo "cli: $checks checks, $wrong wrong"
[ $wrong = 0 ]
