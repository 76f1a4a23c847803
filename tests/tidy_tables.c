/* tidy_tables.c: the rules that people edit. A change here is a change of the house: say why in
 * the commit. Banned pieces of text are written in halves, so that this file passes its test. */
#include "tidy.h"

/* Layers as in ARCHITECTURE.md. A folder sees itself and these; everything else is refused. */
const TidyLayer tidy_layers[] = {
    {"base", " "},
    {"format", " base "},
    {"text", " base format "},
    {"tensor", " base "},
    {"store", " base format "},
    {"trust", " base format store "},
    {"backend", " base tensor "},
    {"model", " base format text tensor backend "},
    {"infer", " base format text tensor backend model "},
    {"train", " base format text tensor backend model infer "},
    {"quant", " base format text tensor backend model infer "},
    {"data", " base format text store "},
    {"eval", " base format text tensor store trust backend model infer train quant data "},
    {"fleet", " base format store "},
    {"forge", " base format text tensor store trust backend model infer train quant data eval "
              "fleet "},
    {"serve", " base format text store trust infer fleet forge "},
    {"cli", " base format text tensor store trust backend model infer train quant data eval "
            "fleet forge serve "},
    {NULL, NULL},
};

const TidyAllowance tidy_allowances[] = {
    {"test", "src/cli/*", NULL, "a command is tested through the program, by tests/cli"},
    {"test", "src/backend/ref/*", NULL, "ops are tested by enumeration, by tests/ops_test.c"},
    {"pragma", "src/backend/cpu/vec_body*", NULL, "compiled once for each instruction set"},
    {"test", "src/base/error.c", NULL, "every assert_fails in the tree tests it"},
    {"test", "src/base/clock.c", NULL, "thin wrappers of system calls without a branch"},
    {"test", "src/base/hash.c", NULL, "manifest_test.c holds it to known digests"},
    {"test", "src/backend/cpu/cpu.c", NULL, "ops are tested by enumeration, by tests/ops_test.c"},
    {"test", "src/data/builder.c", NULL, "dataset_test.c: every dataset comes through it"},
    {"test", "src/data/folder.c", NULL, "dataset_test.c loads folders"},
    {"test", "src/eval/energy.c", NULL, "counters of the kernel: report_test.c reads made-up ones"},
    {"test", "src/eval/words.c", NULL, "bayes_test.c holds its words to scikit-learn's"},
    {"test", "src/format/suggest.c", NULL, "recipe_test.c: the suggestions of unknown keys"},
    {"test", "src/model/*", NULL, "tests/golden_test.c: logits, gradients, folders in and out"},
    {"test", "src/infer/stepper.c", NULL, "tests/golden_test.c: logits whole, in pieces, greedy"},
    {"test", "src/tensor/block_*", NULL, "block_test.c and tests/block_golden_test.c: every codec"},
    {"test", "src/tensor/op*", NULL, "tests/ops_test.c walks the table"},
    {"test", "src/tensor/rewrite_*", NULL, "grad_test.c and tests/golden_test.c"},
    {"test", "src/text/nfc.c", NULL, "tokenizer_golden_test.c: Unicode's own conformance file"},
    {"test", "src/text/utf8.c", NULL, "pretoken_test.c and detok_test.c"},
    {"test", "src/text/word_count.c", NULL, "tokenizer_test.c trains at 1 to 3 threads"},
    {"test", "src/forge/*", NULL, "tests/cli runs the jobs whole; their parts have tests below"},
    {"test", "src/serve/*", NULL, "tests/api: the unmodified SDK against the running server"},
    {NULL, NULL, NULL, NULL},
};

const TidyBan tidy_bans[] = {
    {"strcpy", TIDY_EVERYWHERE, "knows no size: use mem_copy_text, Buf or memcpy"},
    {"strcat", TIDY_EVERYWHERE, "knows no size: use Buf"},
    {"sprintf", TIDY_EVERYWHERE, "knows no size: use snprintf or buf_format"},
    {"vsprintf", TIDY_EVERYWHERE, "knows no size: use vsnprintf"},
    {"gets", TIDY_EVERYWHERE, "knows no size: use fs_read"},
    {"strtok", TIDY_EVERYWHERE, "keeps hidden state: walk the text with a pointer"},
    {"atoi", TIDY_EVERYWHERE, "hides errors: use strtol and check its end"},
    {"atol", TIDY_EVERYWHERE, "hides errors: use strtol and check its end"},
    {"atof", TIDY_EVERYWHERE, "hides errors: use strtod and check its end"},
    {"rand", TIDY_EVERYWHERE, "is not reproducible: use rng.h"},
    {"srand", TIDY_EVERYWHERE, "is not reproducible: use rng.h"},
    {"alloca", TIDY_EVERYWHERE, "has no limit: use an array with a maximum"},
    {"system", TIDY_PRODUCT, "runs a shell: use fork and exec with an argument list"},
    {"popen", TIDY_PRODUCT, "runs a shell: use fork and exec with an argument list"},
    {"getenv", TIDY_LIBRARIES, "is for cli/ and tests: pass an option"},
    {"secure_getenv", TIDY_LIBRARIES, "is for cli/ and tests: pass an option"},
    {"printf", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"vprintf", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"fprintf", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"vfprintf", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"dprintf", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"puts", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"fputs", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"putchar", TIDY_LIBRARIES, "prints: a library returns an Error or fills a Buf"},
    {"perror", TIDY_LIBRARIES, "prints: a library returns an Error"},
    {"exit", TIDY_LIBRARIES, "ends the process: return an Error"},
    {"abort", TIDY_LIBRARIES, "ends the process: return an Error, or assert for a bug of ours"},
    {"malloc", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_alloc or an Arena"},
    {"calloc", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_alloc or an Arena"},
    {"realloc", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_resize"},
    {"free", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_free"},
    {"strdup", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_copy_text"},
    {"strndup", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_copy_text"},
    {"asprintf", TIDY_ABOVE_BASE, "is for base/mem.c: use arena_format or buf_format"},
    {"aligned_alloc", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_alloc_aligned"},
    {"posix_memalign", TIDY_ABOVE_BASE, "is for base/mem.c: use mem_alloc_aligned"},
    {"open", TIDY_ABOVE_BASE, "is for base/fs.c: use fs.h"},
    {"openat", TIDY_ABOVE_BASE, "is for base/fs.c: use fs.h"},
    {"creat", TIDY_ABOVE_BASE, "is for base/fs.c: use fs.h"},
    {"fopen", TIDY_ABOVE_BASE, "is for base/fs.c: use fs.h"},
    {"opendir", TIDY_ABOVE_BASE, "is for base/fs.c: use fs_list"},
    {"rename", TIDY_ABOVE_BASE, "is for base/fs.c: use fs_write or fs_rename_dir"},
    {NULL, TIDY_EVERYWHERE, NULL},
};

const char *const tidy_words[] = {"TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK", NULL};

const char *const tidy_places[] = {
    "/wo" "rk/", "/ho" "me/", "/ro" "ot/", "deb.deb" "ian.org", "debian.o" "rg/debian",
    "pypi.o" "rg", "pythonhos" "ted", "npmjs.o" "rg", "crates.i" "o", "proxy.gola" "ng.org", NULL,
};

const TidyDoc tidy_docs[] = {
    {NULL, NULL, NULL, NULL, NULL, NULL},
};
