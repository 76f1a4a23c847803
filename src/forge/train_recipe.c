/* train_recipe.c: see train_recipe.h. */
#include "forge/train_recipe.h"

#include "base/mem.h"
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const train_method_names[] = {"pretrain", "finetune", NULL};
const char *const train_schedule_names[] = {"constant", "linear", "cosine", "wsd", NULL};
static const char *const split_rules[] = {"groups", "tail", NULL};

static const TrainRecipe defaults = {
    .data = {.seed = 1, .copies = 1, .every_text = 1},
    .model = {.family = "llama", .eps = 1e-5, .theta = 10000, .tied = true},
    .train = {.rows = 1, .schedule = 2, .rate = 3e-4, .warmup = 0.05, .floor = 0.1,
              .decay_share = 0.2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1,
              .clip = 1, .seed = 1, .checkpoint_every = 200, .keep = 2},
    .lora = {.alpha = 16, .targets = "q_proj,k_proj,v_proj,o_proj"},
};

#define AT(member) offsetof(TrainRecipe, member)

static const RecipeField fields[] = {
    {"name", RECIPE_TEXT, AT(name), 1, 100, .required = true, .meaning = "of the model"},
    {"method", RECIPE_CHOICE, AT(method), .choices = train_method_names,
     .meaning = "pretrain: plain text, every token a target; finetune: dialogues, only the "
                "answers"},
    {"base", RECIPE_TEXT, AT(base), 1, 1000,
     .meaning = "model folder to start from; without it a new model, see model and tokenizer"},
    {"out", RECIPE_TEXT, AT(out), 1, 1000, .required = true,
     .meaning = "model folder to write; inside a workspace (WORKSPACE/models/NAME) it is signed "
                "and entered"},
    {"run", RECIPE_TEXT, AT(run), 1, 1000, .required = true,
     .meaning = "run folder: log, checkpoints, recipe.yaml as resolved, report.html"},
    {"memory", RECIPE_TEXT, AT(memory), 1, 40,
     .meaning = "most memory to plan with, such as 8GiB or 700MiB; absent: 90 % of the machine's"},
    {"data.path", RECIPE_TEXT, AT(data.path), 1, 1000, .required = true,
     .meaning = "a .jsonl file of records, a .txt file, or a folder of text"},
    {"data.split", RECIPE_CHOICE, AT(data.split), .choices = split_rules,
     .meaning = "groups: 5 % of the groups validate, by a hash; tail: the last tenth of the text"},
    {"data.seed", RECIPE_U64, AT(data.seed), 0, 1e18, .meaning = "of the split into groups"},
    {"data.copies", RECIPE_U32, AT(data.copies), 1, 1000,
     .meaning = "finetune: times each labelled record appears, each with its own omissions"},
    {"data.every_text", RECIPE_U32, AT(data.every_text), 0, 1e6,
     .meaning = "finetune: one in so many labelled records also gives its own messages; 0: none"},
    {"data.omit", RECIPE_F64, AT(data.omit), 0, 0.99,
     .meaning = "finetune: share of the context's lines left out of a copy"},
    {"tokenizer.bytes", RECIPE_BOOL, AT(tokenizer.bytes),
     .meaning = "new model: the 256 bytes and the template's special tokens, no merges"},
    {"tokenizer.vocab", RECIPE_U32, AT(tokenizer.vocab), 0, 1 << 20,
     .meaning = "new model: size of the vocabulary to train, special tokens and bytes included"},
    {"model.family", RECIPE_TEXT, AT(model.family), 1, 40, .meaning = "of a new model"},
    {"model.layers", RECIPE_U32, AT(model.layers), 0, 1000, .meaning = "new model"},
    {"model.width", RECIPE_U32, AT(model.width), 0, 1 << 16, .meaning = "new model"},
    {"model.heads", RECIPE_U32, AT(model.heads), 0, 1024, .meaning = "new model"},
    {"model.kv_heads", RECIPE_U32, AT(model.kv_heads), 0, 1024, .meaning = "0: as many as heads"},
    {"model.ff_width", RECIPE_U32, AT(model.ff_width), 0, 1 << 18,
     .meaning = "0: 8/3 of the width, rounded up to 16"},
    {"model.context", RECIPE_U32, AT(model.context), 0, 1 << 20,
     .meaning = "most positions; 0: train.windows, else train.row_tokens"},
    {"model.window", RECIPE_U32, AT(model.window), 0, 1 << 20,
     .meaning = "sliding window of attention; 0: none"},
    {"model.eps", RECIPE_F64, AT(model.eps), 1e-12, 0.1, .meaning = "of the norms"},
    {"model.theta", RECIPE_F64, AT(model.theta), 1, 1e9, .meaning = "base of rotary positions"},
    {"model.tied", RECIPE_BOOL, AT(model.tied), .meaning = "the head is the embedding"},
    {"train.row_tokens", RECIPE_U32, AT(train.row_tokens), 0, 1 << 20,
     .meaning = "tokens of a row, in which samples are packed; 0: the context"},
    {"train.rows", RECIPE_U32, AT(train.rows), 1, 1 << 16,
     .meaning = "rows per update, one after the other: more cost time, not memory"},
    {"train.windows", RECIPE_U32, AT(train.windows), 0, 1 << 20,
     .meaning = "pretrain: the data as one text, in windows of so many tokens at random places, "
                "row_tokens / windows in a row; 0: whole documents, packed"},
    {"train.steps", RECIPE_U64, AT(train.steps), 0, 1e12,
     .meaning = "updates; 0: from train.epochs"},
    {"train.epochs", RECIPE_F64, AT(train.epochs), 0, 1e6,
     .meaning = "passes over the data; 0: from train.steps"},
    {"train.rate", RECIPE_F64, AT(train.rate), 1e-9, 10, .meaning = "largest learning rate"},
    {"train.schedule", RECIPE_CHOICE, AT(train.schedule), .choices = train_schedule_names,
     .meaning = "of the rate, behind the warm-up"},
    {"train.warmup", RECIPE_F64, AT(train.warmup), 0, 1e9,
     .meaning = "updates in which the rate rises; below 1: share of all updates"},
    {"train.floor", RECIPE_F64, AT(train.floor), 0, 1,
     .meaning = "the rate's end, as a share of the largest"},
    {"train.decay_share", RECIPE_F64, AT(train.decay_share), 0.001, 1,
     .meaning = "wsd: share of the updates that decay"},
    {"train.beta1", RECIPE_F64, AT(train.beta1), 0, 0.9999, .meaning = "AdamW"},
    {"train.beta2", RECIPE_F64, AT(train.beta2), 0, 0.999999, .meaning = "AdamW"},
    {"train.eps", RECIPE_F64, AT(train.eps), 1e-15, 1, .meaning = "AdamW"},
    {"train.decay", RECIPE_F64, AT(train.decay), 0, 10,
     .meaning = "AdamW's weight decay, of matrices only"},
    {"train.clip", RECIPE_F64, AT(train.clip), 0, 1e6,
     .meaning = "largest norm of the gradient; 0: no clipping"},
    {"train.seed", RECIPE_U64, AT(train.seed), 0, 1e18, .meaning = "of weights and order"},
    {"train.threads", RECIPE_U32, AT(train.threads), 0, 256,
     .meaning = "0: all; the result does not depend on it"},
    {"train.precision", RECIPE_CHOICE, AT(train.precision), .choices = precision_names,
     .meaning = "of matrix products; high is faster on processors with a bf16 matrix unit, with "
                "16 bits of mantissa instead of 24"},
    {"train.recompute", RECIPE_CHOICE, AT(train.recompute), .choices = recompute_names,
     .meaning = "what is computed again in the backward pass to save memory: nothing, norms and "
                "activations, the wide products too, or whole layers; auto: as little as keeps "
                "activations within 768 MiB"},
    {"train.checkpoint_every", RECIPE_U64, AT(train.checkpoint_every), 0, 1e12,
     .meaning = "updates; 0: at the end only"},
    {"train.evaluate_every", RECIPE_U64, AT(train.evaluate_every), 0, 1e12,
     .meaning = "updates between measurements of the validation loss; 0: at the end only"},
    {"train.keep", RECIPE_U32, AT(train.keep), 1, 1000, .meaning = "checkpoints kept"},
    {"lora.rank", RECIPE_U32, AT(lora.rank), 0, 4096,
     .meaning = "train low-rank adapters of this rank, merged at the end; 0: train every weight"},
    {"lora.alpha", RECIPE_F64, AT(lora.alpha), 1e-6, 1e6, .meaning = "scale is alpha / rank"},
    {"lora.targets", RECIPE_TEXT, AT(lora.targets), 1, 400,
     .meaning = "parts of names of the matrices to adapt, separated by commas"},
};
const RecipeTable train_recipe_table = RECIPE_TABLE(fields, TrainRecipe, &defaults);

bool train_recipe_read(TrainRecipe *out, Recipe *file, const char *path, Error *err)
{
    return recipe_read(file, path, err) && recipe_bind(file, &train_recipe_table, out, err);
}

/* "8GiB", "512MiB", "1.5 GiB", or bytes. */
static bool read_memory(const char *text, uint64_t *out, Error *err)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824},
                 {"TiB", 1099511627776}};
    char *end = NULL;
    bool digits = text[strspn(text, "0123456789.")] != text[0];
    double number = digits ? strtod(text, &end) : 0;
    while (digits && *end == ' ')
        end++;
    for (size_t i = 0; digits && i < sizeof units / sizeof *units; i++) {
        double bytes = number * units[i].bytes;
        if (strcmp(end, units[i].unit) != 0 || !(bytes >= 1 && bytes < 0x1p62))
            continue;
        *out = (uint64_t)bytes;
        return true;
    }
    return fail(err, ERR_INPUT, "'memory' must be like 8GiB or 700MiB, is '%.40s'", text);
}

static bool check_model(TrainRecipe *r, Error *err)
{
    bool shape = r->model.layers || r->model.width || r->model.heads;
    bool words = r->tokenizer.vocab || r->tokenizer.bytes;
    if (r->base)
        return !(shape || words) ||
               fail(err, ERR_INPUT, "'base' brings its own %s: leave '%s' out, or 'base'",
                    shape ? "shape" : "tokenizer", shape ? "model" : "tokenizer");
    if (!r->model.layers || !r->model.width || !r->model.heads)
        return fail(err, ERR_INPUT, "a new model needs 'model.layers', 'model.width' and "
                                    "'model.heads'; or name a 'base' to start from");
    if (r->model.width % r->model.heads)
        return fail(err, ERR_INPUT, "'model.width' %u must be a multiple of 'model.heads' %u",
                    r->model.width, r->model.heads);
    if (!family_named(r->model.family))
        return fail(err, ERR_INPUT, "'model.family' '%.40s' is not in docs/models.md; llama is the plain one",
                    r->model.family);
    if (r->tokenizer.bytes == (r->tokenizer.vocab != 0))
        return fail(err, ERR_INPUT, "a new model needs either 'tokenizer.vocab' or "
                                    "'tokenizer.bytes: true'");
    if (!r->model.kv_heads)
        r->model.kv_heads = r->model.heads;
    if (!r->model.ff_width)
        r->model.ff_width = (r->model.width * 8 / 3 + 15) / 16 * 16;
    if (!r->model.context)
        r->model.context = r->train.windows ? r->train.windows : r->train.row_tokens;
    if (!r->model.context)
        return fail(err, ERR_INPUT, "a new model needs 'model.context', 'train.windows' or "
                                    "'train.row_tokens'");
    return true;
}

static bool check_train(TrainRecipe *r, Error *err)
{
    if ((r->train.steps == 0) == (r->train.epochs == 0))
        return fail(err, ERR_INPUT, "say how long: either 'train.steps' or 'train.epochs'");
    if (r->train.windows && r->method != TRAIN_PRETRAIN)
        return fail(err, ERR_INPUT, "'train.windows' cuts plain text: it needs method pretrain");
    if (!r->train.row_tokens && r->model.context) /* of a base: once it is loaded */
        r->train.row_tokens = r->train.windows ? r->train.windows : r->model.context;
    if (r->train.windows && r->train.row_tokens % r->train.windows)
        return fail(err, ERR_INPUT, "'train.row_tokens' %u must be a multiple of 'train.windows' "
                                    "%u",
                    r->train.row_tokens, r->train.windows);
    if (r->lora.rank && !r->base)
        return fail(err, ERR_INPUT, "'lora.rank' adapts a model: name it as 'base'");
    if (strchr(r->name, '/') || r->name[0] == '.')
        return fail(err, ERR_INPUT, "'name' must be a plain word, is '%.80s'", r->name);
    return true;
}

bool train_recipe_check(TrainRecipe *recipe, Error *err)
{
    recipe->memory_bytes = 0;
    if (recipe->memory && !read_memory(recipe->memory, &recipe->memory_bytes, err))
        return false;
    return check_model(recipe, err) && check_train(recipe, err);
}

bool train_recipe_document(Buf *out, Error *err)
{
    buf_add_text(out, "# Training recipes\n\n"
                      "What `bastide train` reads: a strict part of YAML. Sections nest: "
                      "`train.rate` is `rate`\nunder `train`. Any key can be replaced on the "
                      "command line: `--set train.rate=0.001`.\nThe recipe as resolved stands in "
                      "the run folder as recipe.yaml. This page is made from the\ntable in "
                      "src/forge/train_recipe.c, and a test holds it to that. Examples are in "
                      "recipes/.\n\n");
    return recipe_describe(&train_recipe_table, out, err) && buf_ok(out, "docs/recipe.md", err);
}

/* ---- the last tenth ---- */

static size_t text_bytes(const Record *r)
{
    size_t bytes = strlen(r->text) + strlen(r->context);
    for (uint32_t i = 0; i < r->message_count; i++)
        bytes += r->messages[i].size;
    return bytes;
}

/* Record `at` is cut into two, its text behind `keep` bytes becoming a record of its own. */
static bool cut_record(Dataset *d, size_t at, size_t keep, Error *err)
{
    Record *records = d->records;
    if (d->count == d->room) {
        records = mem_resize(d->records, d->room + 1, sizeof *records);
        if (!records)
            return fail(err, ERR_MEMORY, "no memory for %zu records", d->count + 1);
        d->records = records;
        d->room++;
    }
    const char *text = records[at].text;
    while (keep && ((unsigned char)text[keep] & 0xc0) == 0x80)
        keep--; /* between characters */
    char *head = arena_copy_text(&d->arena, text, keep);
    char *id = arena_format(&d->arena, "%s~", records[at].id);
    if (!head || !id)
        return fail(err, ERR_MEMORY, "no memory to cut record '%.80s'", records[at].id);
    memmove(records + at + 1, records + at, (d->count - at) * sizeof *records);
    records[at].text = head;
    records[at + 1].text = text + keep;
    records[at + 1].id = id;
    d->count++;
    return true;
}

bool train_split_tail(Dataset *d, Error *err)
{
    uint64_t total = 0, before = 0;
    for (size_t i = 0; i < d->count; i++)
        total += text_bytes(&d->records[i]);
    uint64_t border = total / 10 * 9 + total % 10 * 9 / 10;
    for (size_t i = 0; i < d->count; i++) {
        Record *r = &d->records[i];
        uint64_t bytes = text_bytes(r);
        bool crosses = before < border && before + bytes > border;
        bool plain = !r->label && !r->message_count && !*r->context;
        if (crosses && plain) {
            if (!cut_record(d, i, border - before, err))
                return false;
            r = &d->records[i];
            bytes = strlen(r->text);
        }
        r->split = before + bytes / 2 < border ? SPLIT_TRAIN : SPLIT_VALID;
        before += bytes;
    }
    return true;
}
