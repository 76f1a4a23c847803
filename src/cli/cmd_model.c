/* cmd_model.c: what a model folder holds, and its export as GGUF. */
#include "cli/command.h"

#include "format/json.h"
#include "format/safetensors.h"
#include "model/model.h"
#include "quant/gguf_export.h"
#include "trust/manifest.h"

#include <stdio.h>
#include <string.h>

enum { SHOW_BYTES_MAX = 1 << 20, SHOW_ROOM = 1100, CONFIG_BYTES_MAX = 16 << 20 };

typedef struct {
    const char *type; /* export */
    bool json, print_template;
} ModelOptions;

/* ---- facts of a folder ---- */

typedef struct {
    const char *file;
    char digest[SHA256_HEX]; /* "": the folder has no such file */
    uint64_t bytes;
} FileFact;

typedef struct {
    const Model *model;
    FileFact files[5];
    uint32_t tensors;
    char dtypes[96];            /* "F32", "BF16 F32" */
    uint64_t as_f32, as_q8_0;   /* bytes of weights in use; as_q8_0 0: rows do not allow it */
    uint64_t cache_per_token;
    json_t *config;             /* tokenizer_config.json; NULL: absent */
    char signature[300];
    const char *signature_state; /* "whole", "unsigned", "broken" */
} Facts;

static const char *const fact_files[] = {"model.safetensors", "config.json", "tokenizer.json",
                                         "tokenizer_config.json", "manifest.json"};

static bool digest_files(const char *folder, Facts *f, Error *err)
{
    for (size_t i = 0; i < sizeof fact_files / sizeof *fact_files; i++) {
        char path[SHOW_ROOM];
        uint8_t digest[SHA256_BYTES];
        FileFact *fact = &f->files[i];
        fact->file = fact_files[i];
        if (!fs_join(path, sizeof path, folder, fact->file, err))
            return false;
        if (!fs_exists(path))
            continue;
        if (!sha256_file(path, digest, &fact->bytes, err))
            return false;
        sha256_hex(digest, fact->digest);
    }
    return true;
}

static bool find_dtypes(const char *folder, Facts *f, Error *err)
{
    char path[SHOW_ROOM];
    Safetensors *st;
    bool seen[ST_DTYPE_COUNT] = {false};
    if (!fs_join(path, sizeof path, folder, "model.safetensors", err) ||
        !safetensors_open(&st, path, err))
        return false;
    f->tensors = safetensors_count(st);
    for (uint32_t i = 0; i < f->tensors; i++)
        seen[safetensors_at(st, i)->dtype] = true;
    safetensors_close(st);
    size_t used = 0;
    for (int d = 0; d < ST_DTYPE_COUNT; d++) {
        if (seen[d])
            used += (size_t)snprintf(f->dtypes + used, sizeof f->dtypes - used, "%s%s",
                                     used ? " " : "", st_dtype_info[d].name);
    }
    return true;
}

/* Bytes of the parameters of a graph that serves the model; 0: its rows are not whole blocks. */
static bool plan_weights(const Model *model, DType type, uint64_t *out, Error *err)
{
    Graph *g;
    ModelPorts ports;
    BuildSpec spec = {.mode = BUILD_STEP, .tokens = 1, .rows = 1, .sequences = 1, .pages = 1,
                      .page = 16, .cache_rows = 16, .weights = type};
    if (!graph_new(&g, err))
        return false;
    bool ok = model_build(g, model->family, &model->config, &spec, &ports, err) &&
              graph_finish(g, err), whole = true;
    uint64_t bytes = 0;
    for (ValueId id = 1; ok && id <= graph_values(g); id++) {
        const Value *value = graph_value(g, id);
        if (value->role != ROLE_PARAM)
            continue;
        uint64_t row = value->shape.dim[value->shape.rank - 1];
        whole = whole && row % dtype_info[value->dtype].block_elems == 0;
        bytes += whole ? dtype_bytes(value->dtype, shape_count(value->shape)) : 0;
    }
    graph_free(g);
    *out = whole ? bytes : 0;
    return ok;
}

static bool read_config(const char *folder, Facts *f, Error *err)
{
    char path[SHOW_ROOM];
    return fs_join(path, sizeof path, folder, "tokenizer_config.json", err) &&
           (!fs_exists(path) || json_read(&f->config, path, CONFIG_BYTES_MAX, err));
}

static void find_signature(const char *folder, Facts *f)
{
    ManifestReport report;
    Error problem;
    if (manifest_verify(folder, NULL, &report, &problem)) {
        f->signature_state = "whole";
        snprintf(f->signature, sizeof f->signature, "whole, as signed by key %s", report.key_id);
    } else if (problem.code == ERR_NOT_FOUND && !f->files[4].digest[0]) {
        f->signature_state = "unsigned";
        snprintf(f->signature, sizeof f->signature, "not signed");
    } else {
        f->signature_state = "broken";
        snprintf(f->signature, sizeof f->signature, "BROKEN: %s", problem.text);
    }
}

static bool find_facts(const Model *model, const char *folder, Facts *f, Error *err)
{
    const ModelConfig *c = &model->config;
    f->model = model;
    f->cache_per_token = 2ull * c->layers * c->kv_heads * c->head_width * sizeof(float);
    if (!digest_files(folder, f, err) || !find_dtypes(folder, f, err) ||
        !plan_weights(model, DT_F32, &f->as_f32, err) ||
        !plan_weights(model, DT_Q8_0, &f->as_q8_0, err) || !read_config(folder, f, err))
        return false;
    find_signature(folder, f);
    return true;
}

/* The text of the folder's template; NULL: it has none. */
static const char *template_text(const Facts *f)
{
    return json_string_value(json_object_get(f->config, "chat_template"));
}

static const char *template_name(const Facts *f)
{
    if (f->model->chat)
        return f->model->chat->name;
    return template_text(f) ? "unknown" : "none";
}

/* ---- show ---- */

static bool show_json(const Facts *f, Error *err)
{
    const ModelConfig *c = &f->model->config;
    auto_buf Buf line;
    buf_init(&line, SHOW_BYTES_MAX);
    auto_json json_t *files = json_object();
    for (size_t i = 0; files && i < sizeof fact_files / sizeof *fact_files; i++) {
        const FileFact *file = &f->files[i];
        if (file->digest[0] &&
            json_object_set_new(files, file->file,
                                json_pack("{s:I, s:s}", "bytes", (json_int_t)file->bytes, "sha256",
                                          file->digest)) != 0)
            return fail(err, ERR_MEMORY, "no memory for the answer");
    }
    auto_json json_t *object = json_pack(
        "{s:s, s:s, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}, s:i, s:I, s:i, s:s, s:s, s:{s:I, "
        "s:o, s:I}, s:O, s:{s:s, s:s}}",
        "name", f->model->name, "family", f->model->family->name, "shape", "layers",
        (int)c->layers, "width", (int)c->width, "heads", (int)c->heads, "kv_heads",
        (int)c->kv_heads, "head_width", (int)c->head_width, "ff_width", (int)c->ff_width, "vocab",
        (int)c->vocab, "tied", c->tied, "context", (int)c->context, "parameters",
        (json_int_t)model_parameters(f->model), "tensors", (int)f->tensors, "dtypes", f->dtypes,
        "template", template_name(f), "memory", "f32", (json_int_t)f->as_f32, "q8_0",
        f->as_q8_0 ? json_integer((json_int_t)f->as_q8_0) : json_null(), "cache_per_token",
        (json_int_t)f->cache_per_token, "files", files, "signature", "state", f->signature_state,
        "text", f->signature);
    if (!object)
        return fail(err, ERR_MEMORY, "no memory for the answer");
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

static void show_text(const Facts *f)
{
    const ModelConfig *c = &f->model->config;
    double mega = 1e6;
    printf("name        %s\n", f->model->name);
    printf("family      %s (%s)\n", f->model->family->name, f->model->family->architecture);
    printf("shape       %u layers of width %u, %u heads of %u (%u for keys and values), "
           "feed-forward %u\n",
           c->layers, c->width, c->heads, c->head_width, c->kv_heads, c->ff_width);
    printf("vocabulary  %u tokens, %s\n", c->vocab,
           c->tied ? "the head is the embedding" : "the head is a matrix of its own");
    printf("parameters  %llu\n", (unsigned long long)model_parameters(f->model));
    printf("stored as   %s, %u tensors\n", f->dtypes, f->tensors);
    printf("context     %u tokens", c->context);
    if (c->window)
        printf(", sliding window of %u", c->window);
    printf("\ntemplate    %s\n", template_name(f));
    printf("memory      weights %.1f MB as f32, ", (double)f->as_f32 / mega);
    if (f->as_q8_0)
        printf("%.1f MB as q8_0", (double)f->as_q8_0 / mega);
    else
        printf("not possible as q8_0 (rows are no multiple of 32)");
    printf("; %.1f kB for each token of context\n", (double)f->cache_per_token / 1e3);
    for (size_t i = 0; i < sizeof fact_files / sizeof *fact_files; i++) {
        if (f->files[i].digest[0])
            printf("%s sha256 %s  %s\n", i ? "           " : "files      ", f->files[i].digest,
                   f->files[i].file);
    }
    printf("signature   %s\n", f->signature);
}

static bool show_loaded(const Model *model, const char *folder, const ModelOptions *o, Error *err)
{
    Facts f = {0};
    bool ok = find_facts(model, folder, &f, err);
    const char *text = ok ? template_text(&f) : NULL;
    if (ok && o->print_template && !text)
        ok = fail(err, ERR_NOT_FOUND, "'%s' has no chat template", folder);
    else if (ok && o->print_template)
        puts(text);
    else if (ok && o->json)
        ok = show_json(&f, err);
    else if (ok)
        show_text(&f);
    json_decref(f.config);
    return ok;
}

static bool show(const char **words, const ModelOptions *o, Error *err)
{
    Model *model;
    if (o->print_template && o->json)
        return fail(err, ERR_INPUT, "choose one of --json and --template");
    if (!model_load(&model, words[0], err))
        return false;
    bool ok = show_loaded(model, words[0], o, err);
    model_free(model);
    return ok;
}

/* ---- export ---- */

static bool export(const char **words, const ModelOptions *o, Error *err)
{
    const GgufExportType *type = gguf_export_type_named(o->type ? o->type : "f16");
    Model *model;
    if (!type)
        return fail(err, ERR_INPUT, "--type must be f32, f16, bf16 or q8_0, is '%.40s'", o->type);
    if (!model_load(&model, words[0], err))
        return false;
    bool ok = gguf_export(model, type, words[1], err);
    model_free(model);
    if (!ok)
        return false;
    long long bytes = (long long)fs_size(words[1]);
    if (o->json)
        printf("{\"type\":\"%s\",\"bytes\":%lld}\n", type->name, bytes);
    else
        fprintf(stderr, "Wrote %s: %lld bytes, matrices as %s.\n", words[1], bytes, type->name);
    return true;
}

/* ---- the command ---- */

static const struct {
    const char *name;
    uint32_t words;
    const char *form;
    bool (*run)(const char **words, const ModelOptions *o, Error *err);
} verbs[] = {
    {"show", 1, "model show FOLDER", show},
    {"export", 2, "model export FOLDER OUT.gguf", export},
};

bool command_model(int argc, char **argv, Error *err)
{
    ModelOptions o = {0};
    const char *words[3] = {NULL, NULL, NULL};
    uint32_t found;
    const ArgOption options[] = {
        {"type", ARG_TEXT, &o.type, "TYPE", "f32, f16, bf16 or q8_0"},
        {"template", ARG_FLAG, &o.print_template, NULL, "print the chat template alone"},
        {"json", ARG_FLAG, &o.json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, 3, words, 3, &found, err))
        return false;
    for (size_t i = 0; found && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(words[0], verbs[i].name) != 0)
            continue;
        if (found != verbs[i].words + 1)
            return fail(err, ERR_INPUT, "the form is: bastide %s", verbs[i].form);
        return verbs[i].run(words + 1, &o, err);
    }
    return fail(err, ERR_INPUT, "say: bastide model show FOLDER, or export FOLDER OUT.gguf");
}
