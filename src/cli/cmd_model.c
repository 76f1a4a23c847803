/* cmd_model.c: checkpoints in and out: show, import, export, merge, and the logits of a model. */
#include "cli/command.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/model_show.h"
#include "quant/adapter.h"
#include "quant/convert.h"
#include "quant/logits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS_MAX = 1 << 16 };

typedef struct {
    const char *type, *dtype, *format, *tokens, *alpha;
    uint32_t threads;
    bool json, print_template, dry_run, hash;
} ModelOptions;

/* ---- progress ---- */

typedef struct {
    double start, last;
    const char *verb;
    bool moving, shown;
} Progress;

/* A moving line on a terminal, a plain one every 10 s otherwise; with the rate and what is left. */
static bool show_progress(void *user, const ConvertProgress *at)
{
    Progress *p = user;
    double now = clock_seconds(), passed = now - p->start;
    if (terminal_stop)
        return false;
    if (now - p->last < (p->moving ? 0.1 : 10) || at->total == 0)
        return true;
    p->last = now;
    p->shown = true;
    double rate = passed > 0 ? (double)at->done / passed : 0;
    double left = rate > 0 ? (double)(at->total - at->done) / rate : 0;
    fprintf(stderr, "%s%s %3.0f %%  %.2f of %.2f GB  %.0f MB/s  %.0f s left  %.40s%s",
            p->moving ? "\r\033[K" : "", p->verb, 100 * (double)at->done / (double)at->total,
            (double)at->done / 1e9, (double)at->total / 1e9, rate / 1e6, left, at->tensor,
            p->moving ? "" : "\n");
    fflush(stderr);
    return true;
}

/* ---- converting ---- */

static bool find_type(const char *option, const char *name, const StoredType **out, Error *err)
{
    char known[160] = "";
    size_t used = 0;
    *out = name ? stored_named(name) : NULL;
    if (!name || strcmp(name, "keep") == 0 || (*out && (*out)->of_f32))
        return true;
    for (const StoredType *t = stored_types; t->name; t++) {
        if (t->of_f32 && used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     t->name);
    }
    return fail(err, ERR_INPUT, "--%s must be one of %s, is '%.40s'", option, known, name);
}

static const ConvertFormat *find_format(const char *name)
{
    for (const ConvertFormat *f = convert_formats; f->name; f++) {
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static void report(const Source *s, const char *path, const ConvertFormat *format,
                   const StoredType *type, const ModelOptions *o, const ConvertResult *r,
                   double seconds)
{
    if (o->json) {
        printf("{\"format\":\"%s\",\"type\":\"%s\",\"bytes\":%" PRIu64 ",\"tensors\":%" PRIu32
               ",\"files\":%" PRIu32 ",\"left_out\":%" PRIu32 ",\"exact\":%s,\"dry_run\":%s,"
               "\"seconds\":%.3f}\n",
               format->name, type ? type->name : "keep", r->bytes, r->tensors, r->files,
               r->left_out, r->exact ? "true" : "false", o->dry_run ? "true" : "false", seconds);
        return;
    }
    fprintf(stderr, "%s %s: %" PRIu32 " tensors, %" PRIu64 " bytes%s%s%s; %s.\n",
            o->dry_run ? "Would write" : "Wrote", path, r->tensors, r->bytes,
            type ? ", matrices as " : "", type ? type->name : "", type ? "" : ", types kept",
            r->exact ? "every value is the source's" : "values were rounded");
    if (r->left_out)
        fprintf(stderr, "Left out: %" PRIu32 " tensors of the picture part, or said twice.\n",
                r->left_out);
    if (*s->tokenizer_note)
        fprintf(stderr, "Its tokenizer is left out: %s.\n", s->tokenizer_note);
}

static bool run_conversion(const Source *s, const char *path, const ConvertFormat *format,
                           const StoredType *type, const char *verb, const ModelOptions *o,
                           Error *err)
{
    ConvertResult result;
    Progress progress = {.start = clock_seconds(), .verb = verb,
                         .moving = isatty(STDERR_FILENO)};
    ConvertOptions options = {.type = type, .dry_run = o->dry_run, .progress = show_progress,
                              .user = &progress};
    progress.last = progress.start;
    terminal_catch_signals();
    bool ok = convert(format, s, path, &options, &result, err);
    if (progress.moving && progress.shown)
        fputs("\r\033[K", stderr);
    if (ok)
        report(s, path, format, type, o, &result, clock_seconds() - progress.start);
    return ok;
}

static bool import(const char **words, const ModelOptions *o, Error *err)
{
    const StoredType *type;
    Source *source;
    if (!find_type("dtype", o->dtype, &type, err) || !source_open(&source, words[0], err))
        return false;
    bool ok = run_conversion(source, words[1], find_format("hf"), type, "import", o, err);
    source_close(source);
    return ok;
}

static bool export(const char **words, const ModelOptions *o, Error *err)
{
    const ConvertFormat *format = find_format(o->format ? o->format : "gguf");
    const StoredType *type;
    Source *source;
    if (!format)
        return fail(err, ERR_INPUT, "--format must be hf, mistral or gguf, is '%.40s'", o->format);
    if (!find_type("type", o->type, &type, err) || !source_open(&source, words[0], err))
        return false;
    bool ok = run_conversion(source, words[1], format, type, "export", o, err);
    source_close(source);
    return ok;
}

static bool merge(const char **words, const ModelOptions *o, Error *err)
{
    const StoredType *type;
    Adapter *adapter;
    Source *source;
    if (!find_type("dtype", o->dtype, &type, err) || !source_open(&source, words[0], err))
        return false;
    bool ok = adapter_open(&adapter, words[1], err);
    if (ok) {
        ok = adapter_attach(adapter, source, err) &&
             run_conversion(source, words[2], find_format("hf"), type, "merge", o, err);
        adapter_close(adapter);
    }
    source_close(source);
    return ok;
}

/* The adapter in a checkpoint of a training run, in PEFT's form. */
static bool adapter(const char **words, const ModelOptions *o, Error *err)
{
    Source *source;
    uint32_t count;
    char *end;
    double alpha = o->alpha ? strtod(o->alpha, &end) : 0;
    if (!o->alpha || *end || !(alpha > 0 && alpha <= 1e6))
        return fail(err, ERR_INPUT, "say the lora.alpha of the recipe: --alpha 16");
    if (!source_open(&source, words[0], err))
        return false;
    bool ok = adapter_write_state(source, words[1], alpha, words[2], &count, err);
    source_close(source);
    if (ok)
        fprintf(stderr, "Wrote %s: an adapter of %" PRIu32 " matrices.\n", words[2], count);
    return ok;
}

static bool show(const char **words, const ModelOptions *o, Error *err)
{
    ShowOptions options = {o->json, o->print_template, o->hash};
    return model_show(words[0], &options, err);
}

/* ---- logits ---- */

/* "1,2,3" */
static bool parse_tokens(const char *text, int32_t *ids, uint32_t *count, Error *err)
{
    *count = 0;
    for (const char *at = text; at && *at; at++) {
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (end == at || errno || value < 0 || value > INT32_MAX || (*end && *end != ','))
            return fail(err, ERR_INPUT, "--tokens must be whole numbers with commas between, is "
                                        "'%.60s'", text);
        if (*count == TOKENS_MAX)
            return fail(err, ERR_LIMIT, "--tokens has over %d numbers", TOKENS_MAX);
        ids[(*count)++] = (int32_t)value;
        if (!*end)
            return true;
        at = end;
    }
    return fail(err, ERR_INPUT, "say which tokens: --tokens 1,2,3");
}

static void print_logits(const float *logits, uint32_t vocab, bool json)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    if (!json) {
        printf("%" PRIu32 " %.9g\n", best, (double)logits[best]);
        return;
    }
    printf("{\"best\":%" PRIu32 ",\"logits\":[", best);
    for (uint32_t i = 0; i < vocab; i++)
        printf("%s%.9g", i ? "," : "", (double)logits[i]);
    puts("]}");
}

static bool logits(const char **words, const ModelOptions *o, Error *err)
{
    Model *model;
    uint32_t count;
    auto_free int32_t *ids = mem_alloc(TOKENS_MAX, sizeof *ids);
    if (!ids)
        return fail(err, ERR_MEMORY, "no memory for tokens");
    if (!parse_tokens(o->tokens, ids, &count, err) || !model_load(&model, words[0], err))
        return false;
    auto_free float *values = mem_alloc(model->config.vocab, sizeof *values);
    bool ok = values || fail(err, ERR_MEMORY, "no memory for logits");
    ok = ok && model_logits(model, ids, count, o->threads, values, err);
    if (ok)
        print_logits(values, model->config.vocab, o->json);
    model_free(model);
    return ok;
}

/* ---- the command ---- */

static const struct {
    const char *name;
    uint32_t words;
    const char *form;
    bool (*run)(const char **words, const ModelOptions *o, Error *err);
} verbs[] = {
    {"show", 1, "model show FOLDER|FILE", show},
    {"import", 2, "model import SOURCE FOLDER", import},
    {"export", 2, "model export FOLDER OUT", export},
    {"merge", 3, "model merge BASE ADAPTER FOLDER", merge},
    {"adapter", 3, "model adapter BASE STATE FOLDER --alpha A", adapter},
    {"logits", 1, "model logits FOLDER --tokens 1,2,3", logits},
};

bool command_model(int argc, char **argv, Error *err)
{
    ModelOptions o = {0};
    const char *words[5] = {NULL, NULL, NULL, NULL, NULL};
    uint32_t found;
    const ArgOption options[] = {
        {"type", ARG_TEXT, &o.type, "TYPE", "export: f32, f16, bf16 or q8_0; else kept"},
        {"dtype", ARG_TEXT, &o.dtype, "TYPE", "import, merge: f32, f16 or bf16; else kept"},
        {"format", ARG_TEXT, &o.format, "FORMAT", "export: gguf, hf or mistral"},
        {"tokens", ARG_TEXT, &o.tokens, "IDS", "logits: 1,2,3"},
        {"alpha", ARG_TEXT, &o.alpha, "A", "adapter: lora.alpha of the recipe"},
        {"threads", ARG_U32, &o.threads, "N", "logits: 0: all"},
        {"template", ARG_FLAG, &o.print_template, NULL, "show: print the chat template alone"},
        {"hash", ARG_FLAG, &o.hash, NULL, "show: a digest of every tensor"},
        {"dry-run", ARG_FLAG, &o.dry_run, NULL, "plan all, write nothing"},
        {"json", ARG_FLAG, &o.json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, words, 5, &found, err))
        return false;
    for (size_t i = 0; found && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(words[0], verbs[i].name) != 0)
            continue;
        if (found != verbs[i].words + 1)
            return fail(err, ERR_INPUT, "the form is: bastide %s", verbs[i].form);
        return verbs[i].run(words + 1, &o, err);
    }
    return fail(err, ERR_INPUT, "say: bastide model show FOLDER, import SOURCE FOLDER, export "
                                "FOLDER OUT, merge BASE ADAPTER FOLDER, or logits FOLDER");
}
