/* cmd_quantise.c: a model in fewer bits, with the proof of what that cost. */
#include "cli/command.h"

#include "base/mem.h"
#include "quant/choose_types.h"
#include "quant/divergence.h"
#include "quant/convert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1 << 28, CALIBRATE_TOKENS = 8192, PROVE_TOKENS = 16384, ROWS_MAX = 16 };

typedef struct {
    const char *type, *fit, *calibrate, *imatrix, *save_imatrix, *prove;
    bool dry_run, json;
    uint32_t threads;
    uint64_t calibrate_tokens, prove_tokens;
} Options;

/* One line of the answer: a choice of types, its size and what it costs. */
typedef struct {
    char name[24];
    uint64_t bytes;
    double bits, predicted; /* predicted: NAN without calibration */
    bool proven;
    Divergence divergence;
} Row;

typedef struct {
    const Options *o;
    const char *folder; /* of the model */
    Model *model;
    Calibration *calibration;
    Choice *choice;
    DivergenceBase *base;
    Model shadow; /* the model with rounded weights; its slab is ours */
    Row rows[ROWS_MAX];
    uint32_t row_count;
    uint64_t written; /* bytes of the file; 0: none */
} Job;

/* ---- texts ---- */

static bool read_ids(const Model *model, const char *path, Tokens *ids, Error *err)
{
    auto_buf Buf text;
    buf_init(&text, TEXT_BYTES_MAX);
    if (!model->tokenizer)
        return fail(err, ERR_INPUT, "'%s' has no tokenizer, so it cannot read a text", model->name);
    return fs_read(path, &text, err) &&
           tokenizer_encode(model->tokenizer, text.data, text.size, ids, err);
}

/* A moving line on a terminal, nothing otherwise: the phases are told. */
static void show_tokens(void *user, uint64_t done, uint64_t tokens)
{
    if (!isatty(2))
        return;
    fprintf(stderr, "\r%s: %llu of %llu tokens", (const char *)user, (unsigned long long)done,
            (unsigned long long)tokens);
    if (done == tokens)
        fputc('\n', stderr);
}

/* ---- calibration ---- */

static bool measure_text(Job *j, Error *err)
{
    const Options *o = j->o;
    auto_tokens Tokens ids;
    tokens_init(&ids, TEXT_BYTES_MAX);
    terminal_phase(NULL, "Calibrating on the text.");
    CalibrateOptions options = {.threads = o->threads, .gradients = true,
                                .tokens_max = o->calibrate_tokens, .progress = show_tokens,
                                .user = (void *)"Calibrating"};
    return read_ids(j->model, o->calibrate, &ids, err) &&
           calibrate(&j->calibration, j->model, ids.ids, ids.count, &options, err);
}

static bool get_calibration(Job *j, Error *err)
{
    const Options *o = j->o;
    if (o->calibrate && o->imatrix)
        return fail(err, ERR_INPUT, "choose one of --calibrate and --imatrix");
    if (o->calibrate && !measure_text(j, err))
        return false;
    if (o->imatrix && !calibration_load(&j->calibration, j->model, o->imatrix, err))
        return false;
    if (!o->save_imatrix)
        return true;
    if (!j->calibration)
        return fail(err, ERR_INPUT, "--save-imatrix needs --calibrate TEXT");
    return calibration_save(j->calibration, o->save_imatrix, o->calibrate ? o->calibrate : "", err);
}

/* ---- rows ---- */

static double predicted_error(const Choice *c)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->count; i++)
        sum += c->tensors[i].error[c->tensors[i].type];
    return c->calibrated && sum < INFINITY ? sum : NAN;
}

static bool prove(Job *j, Row *row, Error *err)
{
    if (!j->base)
        return true;
    row->proven = true;
    return choice_round(j->choice, j->o->threads, &j->shadow.weights, err) &&
           divergence_measure(j->base, &j->shadow, &row->divergence, err);
}

static bool add_row(Job *j, const char *name, Error *err)
{
    Row *row = &j->rows[j->row_count];
    *row = (Row){.bytes = choice_bytes(j->choice), .predicted = predicted_error(j->choice)};
    snprintf(row->name, sizeof row->name, "%s", name);
    row->bits = 8 * (double)row->bytes / (double)model_parameters(j->model);
    if (!prove(j, row, err))
        return fail_within(err, "%s", name);
    j->row_count++;
    return true;
}

/* Opens the original beside a copy of its weights for the rounded ones. */
static bool open_proof(Job *j, Error *err)
{
    auto_tokens Tokens ids;
    tokens_init(&ids, TEXT_BYTES_MAX);
    DivergenceOptions options = {.threads = j->o->threads, .tokens_max = j->o->prove_tokens,
                                 .progress = show_tokens, .user = (void *)"Proving"};
    terminal_phase(NULL, "Reading the text of the proof.");
    if (!read_ids(j->model, j->o->prove, &ids, err) ||
        !divergence_open(&j->base, j->model, ids.ids, ids.count, &options, err))
        return false;
    j->shadow = *j->model;
    j->shadow.weights.slab = mem_alloc_aligned(j->model->weights.elements * sizeof(float), 64);
    return j->shadow.weights.slab ||
           fail(err, ERR_MEMORY, "no memory for a second copy of the weights");
}

/* ---- sizes ---- */

/* "2GiB", "700MB", "123456" in bytes. */
static bool parse_size(const char *text, uint64_t *out, Error *err)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1}, {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 0x1p10},
                 {"MiB", 0x1p20}, {"GiB", 0x1p30}};
    double value;
    int end = 0;
    if (sscanf(text, "%lf%n", &value, &end) == 1 && value > 0 && value < 1e15) {
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            if (strcmp(text + end, units[i].name) == 0) {
                *out = (uint64_t)(value * units[i].factor);
                return true;
            }
        }
    }
    return fail(err, ERR_INPUT, "--fit must be a size such as 2GiB or 700MB, is '%.40s'", text);
}

/* ---- the file ---- */

/* A tensor that the engine does not load (of a picture part) stays as it is. */
static const StoredType *choose_type(void *user, const SourceTensor *tensor,
                                     const float **importance)
{
    const ChoiceTensor *t = choice_find(user, tensor->name);
    if (!t)
        return stored_of_st(ST_F32);
    *importance = t->importance;
    return stored_of_ggml(block_codecs[t->type].ggml);
}

/* The type with most bytes names the file. */
static uint32_t file_type(const Choice *c)
{
    uint64_t bytes[DT_COUNT] = {0};
    DType most = DT_F32;
    for (uint32_t i = 0; i < c->count; i++) {
        DType type = c->tensors[i].type;
        bytes[type] += dtype_bytes(type, shape_count(c->tensors[i].param->shape));
        most = bytes[type] > bytes[most] ? type : most;
    }
    return block_codecs[most].file_type;
}

static bool write_file(Job *j, const char *path, Error *err)
{
    Source *source;
    ConvertResult result;
    ConvertOptions options = {.threads = j->o->threads, .file_type = file_type(j->choice),
                              .choose = choose_type, .choose_user = j->choice};
    const ConvertFormat *format = convert_formats;
    while (strcmp(format->name, "gguf") != 0)
        format++;
    if (!source_open(&source, j->folder, err))
        return false;
    bool ok = convert(format, source, path, &options, &result, err);
    source_close(source);
    if (ok)
        j->written = (uint64_t)fs_size(path);
    return ok;
}

/* What stands before the tensors does not depend on their types: a file that came out too large is
 * written once more, in what is left. */
static bool write_fitting(Job *j, const char *path, uint64_t budget, Error *err)
{
    if (!write_file(j, path, err))
        return false;
    if (j->written <= budget)
        return true;
    uint64_t head = j->written - choice_bytes(j->choice);
    if (head >= budget)
        return fail(err, ERR_INPUT, "fit: the vocabulary alone takes %llu bytes of %llu",
                    (unsigned long long)head, (unsigned long long)budget);
    return choice_fit(j->choice, budget - head, err) && fs_remove(path, err) &&
           write_file(j, path, err);
}

/* ---- what is asked for ---- */

static bool measure_all(Job *j, Error *err)
{
    ChoiceMeasure options = {.threads = j->o->threads, .every = j->o->dry_run};
    terminal_phase(NULL, "Measuring every tensor in every type.");
    return choice_measure(j->choice, &options, err);
}

static bool run_fit(Job *j, const char *path, Error *err)
{
    uint64_t budget = 0;
    if (!parse_size(j->o->fit, &budget, err) || !measure_all(j, err) ||
        !choice_fit(j->choice, budget, err))
        return false;
    if (path && !write_fitting(j, path, budget, err))
        return false;
    return add_row(j, "fit", err);
}

static bool run_type(Job *j, const char *path, Error *err)
{
    DType type;
    const char *name = j->o->type ? j->o->type : "q4_k";
    if (!dtype_named(name, &type) || !block_codecs[type].quantise)
        return fail(err, ERR_INPUT, "--type '%.20s' is unknown; --dry-run lists the types", name);
    choice_uniform(j->choice, type);
    return (!path || write_file(j, path, err)) && add_row(j, dtype_info[type].name, err);
}

static int wider_first(const void *a, const void *b)
{
    const Row *x = a, *y = b;
    return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

/* Every type, and the mixture if a size was given. */
static bool run_dry(Job *j, Error *err)
{
    if (j->calibration && j->calibration->gradients && !j->o->fit && !measure_all(j, err))
        return false;
    if (j->o->fit && !run_fit(j, NULL, err))
        return false;
    for (int type = 0; type < DT_COUNT && j->row_count < ROWS_MAX; type++) {
        if (!block_codecs[type].quantise || type == DT_F32)
            continue;
        choice_uniform(j->choice, (DType)type);
        if (!add_row(j, dtype_info[type].name, err))
            return false;
    }
    qsort(j->rows, j->row_count, sizeof *j->rows, wider_first);
    return true;
}

/* ---- answers ---- */

static void print_rows(const Job *j)
{
    printf("%-8s %12s %6s %12s  %s\n", "type", "bytes", "bits", "predicted",
           j->base ? "KL (95 %)                       log perplexity change (95 %)       agreement"
                   : "");
    for (uint32_t i = 0; i < j->row_count; i++) {
        const Row *r = &j->rows[i];
        const Divergence *d = &r->divergence;
        printf("%-8s %12llu %6.2f ", r->name, (unsigned long long)r->bytes, r->bits);
        if (r->predicted == r->predicted)
            printf("%12.3g", r->predicted);
        else
            printf("%12s", "-");
        if (r->proven)
            printf("  %.3g (%.3g to %.3g)   %+.3g (%+.3g to %+.3g)   %.2f %%", d->kl.mean,
                   d->kl.low, d->kl.high, d->change.mean, d->change.low, d->change.high,
                   100 * d->agreement.mean);
        putchar('\n');
    }
    if (j->row_count && j->rows[0].proven)
        printf("Perplexity of the original %.4g (%.4g to %.4g), %llu tokens in %u windows.\n",
               j->rows[0].divergence.perplexity_before.mean,
               j->rows[0].divergence.perplexity_before.low,
               j->rows[0].divergence.perplexity_before.high,
               (unsigned long long)j->rows[0].divergence.tokens, j->rows[0].divergence.windows);
}

static json_t *row_json(const Row *r)
{
    bool known = r->predicted == r->predicted;
    return json_pack("{s:s, s:I, s:f, s:o, s:o}", "type", r->name, "bytes", (json_int_t)r->bytes,
                     "bits", r->bits, "predicted_kl", known ? json_real(r->predicted) : json_null(),
                     "measured", r->proven ? divergence_json(&r->divergence) : json_null());
}

static bool print_json(const Job *j, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, 1 << 20);
    auto_json json_t *object = json_object(), *rows = json_array(), *tensors = json_object();
    for (uint32_t i = 0; i < j->row_count; i++)
        json_array_append_new(rows, row_json(&j->rows[i]));
    for (uint32_t i = 0; !j->o->dry_run && i < j->choice->count; i++)
        json_object_set_new(tensors, j->choice->tensors[i].param->name,
                            json_string(dtype_info[j->choice->tensors[i].type].name));
    if (json_object_set(object, "rows", rows) != 0 ||
        json_object_set(object, "tensors", tensors) != 0 ||
        json_object_set_new(object, "file_bytes", json_integer((json_int_t)j->written)) != 0)
        return fail(err, ERR_MEMORY, "no memory for the answer");
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

static bool run_job(Job *j, const char *path, Error *err)
{
    const Options *o = j->o;
    if (!get_calibration(j, err) || !choice_new(&j->choice, j->model, j->calibration, err) ||
        (o->prove && !open_proof(j, err)))
        return false;
    if (o->dry_run ? !run_dry(j, err) : o->fit ? !run_fit(j, path, err) : !run_type(j, path, err))
        return false;
    if (o->json)
        return print_json(j, err);
    print_rows(j);
    if (j->written)
        fprintf(stderr, "Wrote %s: %llu bytes.\n", path, (unsigned long long)j->written);
    return true;
}

bool command_quantise(int argc, char **argv, Error *err)
{
    Options o = {.calibrate_tokens = CALIBRATE_TOKENS, .prove_tokens = PROVE_TOKENS};
    const char *words[2] = {NULL, NULL};
    uint32_t found;
    const ArgOption options[] = {
        {"type", ARG_TEXT, &o.type, "TYPE", "of the matrices"},
        {"fit", ARG_TEXT, &o.fit, "SIZE", "the best mixture in a file of so many bytes"},
        {"calibrate", ARG_TEXT, &o.calibrate, "TEXT", "file to learn from what matters"},
        {"calibrate-tokens", ARG_U64, &o.calibrate_tokens, "N", "of the text to read"},
        {"imatrix", ARG_TEXT, &o.imatrix, "FILE", "a calibration made before"},
        {"save-imatrix", ARG_TEXT, &o.save_imatrix, "FILE", "keep the calibration"},
        {"prove", ARG_TEXT, &o.prove, "TEXT", "file to measure the divergence on"},
        {"prove-tokens", ARG_U64, &o.prove_tokens, "N", "of the text to read"},
        {"threads", ARG_U32, &o.threads, "N", "0: all"},
        {"dry-run", ARG_FLAG, &o.dry_run, NULL, "write nothing, compare the types"},
        {"json", ARG_FLAG, &o.json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, sizeof options / sizeof *options, words, 2, &found, err))
        return false;
    if (found != (o.dry_run ? 1 : 2))
        return fail(err, ERR_INPUT, "the form is: bastide quantise MODEL OUT.gguf --type TYPE, or "
                                    "bastide quantise MODEL --dry-run");
    if (o.type && o.fit)
        return fail(err, ERR_INPUT, "choose one of --type and --fit");
    Job job = {.o = &o, .folder = words[0]};
    if (!model_load(&job.model, words[0], err))
        return false;
    bool ok = run_job(&job, words[1], err);
    divergence_close(job.base);
    mem_free(job.shadow.weights.slab);
    choice_free(job.choice);
    calibration_free(job.calibration);
    model_free(job.model);
    return ok;
}
