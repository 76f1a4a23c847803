/* model_show.c: see model_show.h. Facts are gathered first, then printed as text or as JSON. */
#include "cli/model_show.h"

#include "base/hash.h"
#include "model/model.h"
#include "quant/convert.h"
#include "trust/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ANSWER_BYTES_MAX = 256 << 20, TEXT_BYTES_MAX = 16 << 20, SIZES = 5 };

/* What the weights take in these types of GGUF, vectors as f32. */
static const uint32_t size_types[SIZES] = {GGML_F32, GGML_BF16, GGML_Q8_0, GGML_Q6_K, GGML_Q4_K};
static const char *const size_names[SIZES] = {"f32", "bf16", "q8_0", "q6_k", "q4_k"};

typedef struct {
    const Source *source;
    const Family *family;        /* NULL: not one that runs here */
    char dtypes[96];
    uint64_t sizes[SIZES], cache_per_token;
    Buf template;                /* empty: none */
    const char *template_name;
    char tokenizer[200];         /* "tokenizer.json, 512 tokens", or what is wrong with it */
    json_t *files;               /* name -> {bytes, sha256}; owned */
    json_t *tensors;             /* name -> {dtype, shape, sha256}; NULL: not asked for; owned */
    char signature[300];
    const char *signature_state; /* "whole", "unsigned", "broken" */
} Facts;

static bool fail_memory(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for the answer");
}

/* ---- gathering ---- */

static bool add_digest(Facts *f, const char *path, Error *err)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    uint64_t bytes;
    const char *slash = strrchr(path, '/');
    if (!sha256_file(path, digest, &bytes, err))
        return false;
    sha256_hex(digest, hex);
    return json_object_set_new(f->files, slash ? slash + 1 : path,
                               json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "sha256",
                                         hex)) == 0 || fail_memory(err);
}

/* Weights first, then what belongs to them. */
static bool digest_files(Facts *f, Error *err)
{
    static const char *const also[] = {"config.json", "params.json", "manifest.json"};
    const Source *s = f->source;
    char path[1100];
    f->files = json_object();
    if (!f->files)
        return fail_memory(err);
    for (uint32_t i = 0; i < s->file_count; i++) {
        if (!add_digest(f, s->files[i].path, err))
            return false;
    }
    for (size_t i = 0; fs_is_dir(s->path) && i < sizeof also / sizeof *also; i++) {
        if (!fs_join(path, sizeof path, s->path, also[i], err) ||
            (fs_exists(path) && !add_digest(f, path, err)))
            return false;
    }
    for (uint32_t i = 0; i < s->extra_count; i++) {
        if (s->extras[i].path && !add_digest(f, s->extras[i].path, err))
            return false;
    }
    return true;
}

static void find_sizes(Facts *f)
{
    const Source *s = f->source;
    const Outline *o = &s->outline;
    size_t used = 0;
    for (const StoredType *type = stored_types; type->name; type++) {
        bool seen = false;
        for (uint32_t i = 0; !seen && i < s->count; i++)
            seen = s->tensors[i].type == type;
        if (seen && used < sizeof f->dtypes)
            used += (size_t)snprintf(f->dtypes + used, sizeof f->dtypes - used, "%s%s",
                                     used ? " " : "", type->name);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        const SourceTensor *t = &s->tensors[i];
        for (int k = 0; t->type->to_f32 && k < SIZES; k++) {
            GgmlTypeInfo type = ggml_type_info[t->rank < 2 ? GGML_F32 : size_types[k]];
            if (t->columns % type.block)
                type = ggml_type_info[GGML_F16];
            f->sizes[k] += tensor_elements(t) / type.block * type.bytes;
        }
    }
    f->cache_per_token = 2ull * o->layers * o->kv_heads * o->head_width * sizeof(float);
}

static bool find_template(Facts *f, Error *err)
{
    auto_json json_t *config = NULL;
    auto_buf Buf text;
    const SourceFile *own = source_extra(f->source, "chat_template.jinja");
    const SourceFile *extra = source_extra(f->source, "tokenizer_config.json");
    buf_init(&f->template, TEXT_BYTES_MAX);
    buf_init(&text, TEXT_BYTES_MAX);
    f->template_name = "none";
    if (own && !source_read_extra(own, &f->template, err))
        return false;
    if (!own && extra) {
        if (!source_read_extra(extra, &text, err) ||
            !json_parse(&config, text.data ? text.data : "", text.size, extra->name, err))
            return false;
        const char *found = json_string_value(json_object_get(config, "chat_template"));
        buf_add_text(&f->template, found ? found : "");
    }
    if (!buf_ok(&f->template, "the template", err))
        return false;
    if (f->template.size) {
        const ChatTemplate *known = chat_template_of_jinja(f->template.data);
        f->template_name = known ? known->name : "unknown";
    }
    return true;
}

/* A tokenizer that this program cannot use does not keep the rest from being shown. */
static void find_tokenizer(Facts *f)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tekken.json"};
    const Source *s = f->source;
    const SourceFile *file = NULL;
    Tokenizer *tokenizer;
    Error problem;
    for (size_t i = 0; !file && i < sizeof names / sizeof *names; i++)
        file = source_extra(s, names[i]);
    if (*s->tokenizer_note)
        snprintf(f->tokenizer, sizeof f->tokenizer, "left out: %s", s->tokenizer_note);
    else if (!file)
        snprintf(f->tokenizer, sizeof f->tokenizer, "none");
    else if (!file->path || strcmp(file->name, names[0]) != 0)
        snprintf(f->tokenizer, sizeof f->tokenizer, "%s", file->name);
    else if (tokenizer_load(&tokenizer, file->path, &problem)) {
        snprintf(f->tokenizer, sizeof f->tokenizer, "%s, %" PRIu32 " tokens", file->name,
                 tokenizer_vocab(tokenizer));
        tokenizer_free(tokenizer);
    } else {
        snprintf(f->tokenizer, sizeof f->tokenizer, "NOT USABLE: %.180s", problem.text);
    }
}

static void find_signature(Facts *f)
{
    ManifestReport report;
    Error problem;
    bool folder = fs_is_dir(f->source->path);
    if (folder && manifest_verify(f->source->path, NULL, &report, &problem)) {
        f->signature_state = "whole";
        snprintf(f->signature, sizeof f->signature, "whole, as signed by key %s", report.key_id);
    } else if (!folder || (problem.code == ERR_NOT_FOUND &&
                           !json_object_get(f->files, "manifest.json"))) {
        f->signature_state = "unsigned";
        snprintf(f->signature, sizeof f->signature, "not signed");
    } else {
        f->signature_state = "broken";
        snprintf(f->signature, sizeof f->signature, "BROKEN: %s", problem.text);
    }
}

static bool digest_tensors(Facts *f, Error *err)
{
    SourceReader reader;
    f->tensors = json_object();
    if (!f->tensors)
        return fail_memory(err);
    if (!reader_new(&reader, f->source, err))
        return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < f->source->count; i++) {
        const SourceTensor *t = &f->source->tensors[i];
        uint8_t digest[SHA256_BYTES];
        char hex[SHA256_HEX];
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t->rank; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
        ok = convert_digest(&reader, t, digest, err);
        sha256_hex(digest, hex);
        json_t *entry = json_pack("{s:s, s:o, s:s}", "dtype", t->type->name, "shape", shape,
                                  "sha256", ok ? hex : "");
        if (json_object_set_new(f->tensors, t->name, entry) != 0)
            ok = ok && fail_memory(err);
    }
    reader_free(&reader);
    return ok;
}

static bool find_facts(Facts *f, const ShowOptions *o, Error *err)
{
    f->family = family_named(f->source->outline.family);
    find_sizes(f);
    find_tokenizer(f);
    if (!digest_files(f, err) || !find_template(f, err) || (o->hash && !digest_tensors(f, err)))
        return false;
    find_signature(f);
    return true;
}

/* ---- printing ---- */

static json_t *shape_json(const Outline *o)
{
    json_t *shape = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "layers",
                              (json_int_t)o->layers, "width", (json_int_t)o->width, "heads",
                              (json_int_t)o->heads, "kv_heads", (json_int_t)o->kv_heads,
                              "head_width", (json_int_t)o->head_width, "ff_width",
                              (json_int_t)o->ff_width, "vocab", (json_int_t)o->vocab, "tied",
                              (int)o->tied);
    if (o->experts && shape) {
        json_object_set_new(shape, "experts", json_integer(o->experts));
        json_object_set_new(shape, "experts_used", json_integer(o->experts_used));
    }
    return shape;
}

static json_t *memory_json(const Facts *f)
{
    json_t *memory = json_object();
    for (int k = 0; memory && k < SIZES; k++)
        json_object_set_new(memory, size_names[k], json_integer((json_int_t)f->sizes[k]));
    json_object_set_new(memory, "cache_per_token", json_integer((json_int_t)f->cache_per_token));
    return memory;
}

static const char *name_of(const Source *s)
{
    const char *name = json_string_value(json_object_get(s->config, "_name_or_path"));
    const char *slash = strrchr(s->path, '/');
    return name && *name ? name : slash && slash[1] ? slash + 1 : s->path;
}

static bool print_json(const Facts *f, Error *err)
{
    const Source *s = f->source;
    auto_buf Buf line;
    buf_init(&line, ANSWER_BYTES_MAX);
    auto_json json_t *object = json_pack(
        "{s:s, s:s, s:s, s:b, s:o, s:I, s:I, s:I, s:s, s:s, s:s, s:s?, s:o, s:O, s:{s:s, s:s}}",
        "name", name_of(s), "layout", s->layout, "family", s->outline.family, "runs",
        f->family != NULL, "shape", shape_json(&s->outline), "context",
        (json_int_t)s->outline.context, "parameters", (json_int_t)source_parameters(s), "tensors",
        (json_int_t)s->count, "dtypes", f->dtypes, "template", f->template_name, "tokenizer",
        f->tokenizer, "licence", s->licence, "memory", memory_json(f), "files", f->files,
        "signature", "state", f->signature_state, "text", f->signature);
    if (!object || (f->tensors && json_object_set(object, "digests", f->tensors) != 0))
        return fail_memory(err);
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

static void print_shape(const Facts *f)
{
    const Source *s = f->source;
    const Outline *o = &s->outline;
    printf("name        %s\n", name_of(s));
    printf("layout      %s, %" PRIu32 " file%s\n", s->layout, s->file_count,
           s->file_count == 1 ? "" : "s");
    if (f->family)
        printf("family      %s (%s)\n", f->family->name, f->family->architecture);
    else
        printf("family      '%s': it does not run here, only its files are handled\n", o->family);
    printf("shape       %u layers of width %u, %u heads of %u (%u for keys and values), "
           "feed-forward %u\n",
           o->layers, o->width, o->heads, o->head_width, o->kv_heads, o->ff_width);
    if (o->experts)
        printf("experts     %u, of which %u work on a token, each of width %u\n", o->experts,
               o->experts_used, o->expert_ff_width);
    printf("vocabulary  %u tokens, %s\n", o->vocab,
           o->tied ? "the head is the embedding" : "the head is a matrix of its own");
    printf("parameters  %" PRIu64 "\n", source_parameters(s));
    printf("stored as   %s, %u tensors\n", f->dtypes, s->count);
    printf("context     %u tokens", o->context);
    if (o->window)
        printf(", sliding window of %u", o->window);
    putchar('\n');
}

static void print_text(const Facts *f)
{
    const char *name;
    json_t *value;
    print_shape(f);
    printf("tokenizer   %s\n", f->tokenizer);
    printf("template    %s\n", f->template_name);
    printf("licence     %s\n", f->source->licence ? f->source->licence : "not said");
    printf("memory     ");
    for (int k = 0; k < SIZES; k++)
        printf(" %.1f MB as %s%s", (double)f->sizes[k] / 1e6, size_names[k],
               k + 1 < SIZES ? "," : "; ");
    printf("%.1f kB for each token of context\n", (double)f->cache_per_token / 1e3);
    const char *head = "files      ";
    json_object_foreach(f->files, name, value) {
        printf("%s sha256 %s  %s\n", head, json_string_value(json_object_get(value, "sha256")),
               name);
        head = "           ";
    }
    json_object_foreach(f->tensors, name, value) {
        printf("tensor      sha256 %s  %s %s\n",
               json_string_value(json_object_get(value, "sha256")),
               json_string_value(json_object_get(value, "dtype")), name);
    }
    printf("signature   %s\n", f->signature);
}

bool model_show(const char *path, const ShowOptions *o, Error *err)
{
    Facts f = {0};
    Source *source;
    if (o->print_template && o->json)
        return fail(err, ERR_INPUT, "choose one of --json and --template");
    if (!source_open(&source, path, err))
        return false;
    f.source = source;
    bool ok = find_facts(&f, o, err);
    if (ok && o->print_template && !f.template.size)
        ok = fail(err, ERR_NOT_FOUND, "'%.160s' has no chat template", path);
    else if (ok && o->print_template)
        puts(f.template.data);
    else if (ok && o->json)
        ok = print_json(&f, err);
    else if (ok)
        print_text(&f);
    buf_done(&f.template);
    json_decref(f.files);
    json_decref(f.tensors);
    source_close(source);
    return ok;
}
