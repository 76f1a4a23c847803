/* choose_types.c: the list of tensors, their errors by type, and the choice; see choose_types.h. */
#include "quant/choose_types.h"

#include "base/mem.h"
#include "quant/choose_budget.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GGUF_PADDING = 32, LARGE = 1 << 20, STRIDE = 4, BAND = 64 };
#define HEAD_WEIGHT 4.0 /* without calibration */

/* Those a mixture is made of; `small`: only where the blocks of 256 do not fit. */
static const struct {
    DType type;
    bool small;
} candidates[] = {
    {DT_Q2_K, false}, {DT_Q3_K, false},  {DT_IQ4_XS, false}, {DT_Q4_K, false}, {DT_Q5_K, false},
    {DT_Q6_K, false}, {DT_IQ4_NL, true}, {DT_Q4_0, true},    {DT_Q4_1, true},  {DT_Q5_0, true},
    {DT_Q5_1, true},  {DT_Q8_0, false},  {DT_F16, false},    {DT_BF16, false}, {DT_F32, false},
};
enum { CANDIDATES = sizeof candidates / sizeof *candidates };

/* Where rows are not whole blocks, the next type to try. */
static const struct {
    DType type, next;
} steps[] = {
    {DT_Q2_K, DT_IQ4_NL}, {DT_Q3_K, DT_IQ4_NL}, {DT_IQ4_XS, DT_IQ4_NL}, {DT_Q4_K, DT_Q5_0},
    {DT_Q5_K, DT_Q5_1},   {DT_Q6_K, DT_Q8_0},   {DT_IQ4_NL, DT_F16},    {DT_Q4_0, DT_F16},
    {DT_Q4_1, DT_F16},    {DT_Q5_0, DT_F16},    {DT_Q5_1, DT_F16},      {DT_Q8_0, DT_F16},
};

/* ---- the list ---- */

static uint32_t columns_of(const ChoiceTensor *t)
{
    return t->param->shape.dim[t->param->shape.rank - 1];
}

static uint32_t rows_of(const ChoiceTensor *t)
{
    return (uint32_t)(shape_count(t->param->shape) / columns_of(t));
}

static bool is_head(const Model *model, const char *name)
{
    return strcmp(name, model->config.tied ? "model.embed_tokens.weight" : "lm_head.weight") == 0;
}

static bool add_tensor(Choice *c, const ParamInfo *param, const Calibration *calibration,
                       Error *err)
{
    ChoiceTensor *t = &c->tensors[c->count++];
    t->param = param;
    t->head = is_head(c->model, param->name);
    t->type = DT_F32;
    for (int i = 0; i < DT_COUNT; i++)
        t->error[i] = INFINITY;
    t->calibration = calibration ? calibration_find(calibration, param->name) : NULL;
    if (!t->calibration)
        return true;
    assert(t->calibration->columns == columns_of(t));
    t->importance = mem_alloc(columns_of(t), sizeof *t->importance);
    if (!t->importance)
        return fail(err, ERR_MEMORY, "no memory for the importance of '%s'", param->name);
    if (!calibration_importance(t->calibration, t->importance)) {
        mem_free(t->importance);
        t->importance = NULL;
    }
    return true;
}

bool choice_new(Choice **out, const Model *model, const Calibration *calibration, Error *err)
{
    Choice *c = mem_alloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "no memory for a choice of types");
    c->model = model;
    c->calibrated = calibration && calibration->gradients;
    c->tensors = mem_alloc(model->weights.count, sizeof *c->tensors);
    bool ok = c->tensors || fail(err, ERR_MEMORY, "no memory for a choice of types");
    for (uint32_t i = 0; ok && i < model->weights.count; i++)
        ok = add_tensor(c, &model->weights.params[i], calibration, err);
    if (ok)
        *out = c;
    else
        choice_free(c);
    return ok;
}

void choice_free(Choice *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->count; i++)
        mem_free(c->tensors[i].importance);
    mem_free(c->tensors);
    mem_free(c);
}

const ChoiceTensor *choice_find(const Choice *c, const char *name)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (strcmp(c->tensors[i].param->name, name) == 0)
            return &c->tensors[i];
    }
    return NULL;
}

bool choice_possible(const ChoiceTensor *t, DType type)
{
    if (t->param->shape.rank == 1)
        return type == DT_F32;
    return block_codecs[type].quantise && columns_of(t) % dtype_info[type].block_elems == 0;
}

static DType nearest_possible(const ChoiceTensor *t, DType type)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !choice_possible(t, type); i++) {
        if (steps[i].type == type)
            type = steps[i].next;
    }
    return choice_possible(t, type) ? type : DT_F32;
}

static double bits_of(DType type)
{
    return 8.0 * dtype_info[type].block_bytes / dtype_info[type].block_elems;
}

void choice_uniform(Choice *c, DType type)
{
    for (uint32_t i = 0; i < c->count; i++) {
        ChoiceTensor *t = &c->tensors[i];
        bool raise = t->head && bits_of(type) < bits_of(DT_Q6_K);
        t->type = nearest_possible(t, raise ? DT_Q6_K : type);
    }
}

static uint64_t bytes_as(const ChoiceTensor *t, DType type)
{
    uint64_t bytes = dtype_bytes(type, shape_count(t->param->shape));
    return (bytes + GGUF_PADDING - 1) / GGUF_PADDING * GGUF_PADDING;
}

uint64_t choice_bytes(const Choice *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->count; i++)
        sum += bytes_as(&c->tensors[i], c->tensors[i].type);
    return sum;
}

/* ---- rows, in bands shared among threads ---- */

typedef struct {
    const Choice *choice;
    const ChoiceTensor *tensor;
    DType type;
    uint32_t stride; /* rows stride * k are taken */
    uint32_t room;   /* floats of a worker's scratch */
    float *scratch;  /* [threads][2][room] */
    float *zeros;    /* [room] */
    double *errors;  /* [bands]; NULL: not asked for */
    float *to;       /* the tensor's values come here; NULL: not asked for */
} Work;

/* Squared error of row i, weighted as far as is known. */
static double row_error(const ChoiceTensor *t, const float *x, const float *y, uint32_t i)
{
    double sum = 0;
    uint32_t columns = columns_of(t);
    if (!t->calibration)
        return block_error(x, y, NULL, columns);
    for (uint32_t u = 0; u < t->calibration->uses; u++) {
        const CalibrationUse *use = &t->calibration->use[u];
        sum += (use->row ? (double)use->row[i] : 1) * block_error(x, y, use->column, columns);
    }
    return sum;
}

static void run_band(void *ctx, uint32_t band, uint32_t worker)
{
    const Work *w = ctx;
    const ChoiceTensor *t = w->tensor;
    uint32_t columns = columns_of(t), rows = rows_of(t);
    float *blocks = w->scratch + (size_t)worker * 2 * w->room, *y = blocks + w->room;
    double sum = 0;
    for (uint32_t k = 0; k < BAND; k++) {
        uint64_t i = ((uint64_t)band * BAND + k) * w->stride;
        if (i >= rows)
            break;
        const float *x = w->choice->model->weights.slab + t->param->offset + i * columns;
        float *back = w->to ? w->to + i * columns : y;
        block_quantise(w->type, x, t->importance, blocks, columns);
        block_dequantise(w->type, blocks, back, columns);
        if (w->errors)
            sum += row_error(t, x, back, (uint32_t)i);
    }
    if (w->errors)
        w->errors[band] = sum;
}

static uint32_t bands_of(const ChoiceTensor *t, uint32_t stride)
{
    uint32_t rows = (rows_of(t) + stride - 1) / stride;
    return (rows + BAND - 1) / BAND;
}

static bool work_new(Work *w, const Choice *c, Pool *pool, Error *err)
{
    uint32_t bands = 1;
    *w = (Work){.choice = c, .stride = 1};
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t columns = columns_of(&c->tensors[i]), here = bands_of(&c->tensors[i], 1);
        w->room = columns > w->room ? columns : w->room;
        bands = here > bands ? here : bands;
    }
    w->scratch = mem_alloc((size_t)pool_threads(pool) * 2 * w->room, sizeof *w->scratch);
    w->zeros = mem_alloc(w->room, sizeof *w->zeros);
    w->errors = mem_alloc(bands, sizeof *w->errors);
    return (w->scratch && w->zeros && w->errors) ||
           fail(err, ERR_MEMORY, "no memory for rows of %u values", w->room);
}

static void work_free(Work *w)
{
    mem_free(w->scratch);
    mem_free(w->zeros);
    mem_free(w->errors);
}

/* ---- measuring ---- */

/* The error that zeros would make. */
static double whole_error(const ChoiceTensor *t, const float *x, const float *zeros)
{
    double sum = 0;
    for (uint32_t i = 0; i < rows_of(t); i++)
        sum += row_error(t, x + (size_t)i * columns_of(t), zeros, i);
    return sum;
}

static void measure_type(const Choice *c, Work *w, Pool *pool, ChoiceTensor *t, DType type,
                         bool exactly)
{
    const float *x = c->model->weights.slab + t->param->offset;
    double sum = 0;
    w->tensor = t;
    w->type = type;
    w->stride = !exactly && shape_count(t->param->shape) >= LARGE ? STRIDE : 1;
    uint32_t bands = bands_of(t, w->stride);
    pool_for(pool, bands, run_band, w);
    for (uint32_t b = 0; b < bands; b++)
        sum += w->errors[b];
    sum *= w->stride;
    if (c->calibrated) {
        t->error[type] = t->calibration ? sum / 2 : INFINITY;
        return;
    }
    double size = whole_error(t, x, w->zeros);
    t->error[type] = size > 0 ? sum / size * (t->head ? HEAD_WEIGHT : 1) : 0;
}

/* A type that cannot hold the values is left out; what none can hold is refused by name. */
static bool measure_tensor(Choice *c, Work *w, Pool *pool, ChoiceTensor *t,
                           const ChoiceMeasure *o, Error *err)
{
    const float *x = c->model->weights.slab + t->param->offset;
    uint64_t count = shape_count(t->param->shape);
    uint64_t bad = block_misfit(DT_F32, x, count);
    if (bad < count)
        return fail(err, ERR_INPUT, "tensor '%s' holds %g at %llu: it cannot be quantised",
                    t->param->name, (double)x[bad], (unsigned long long)bad);
    for (size_t k = 0; k < CANDIDATES; k++) {
        DType type = candidates[k].type;
        if (candidates[k].small && !o->every && choice_possible(t, DT_Q4_K))
            continue;
        if (choice_possible(t, type) && block_misfit(type, x, count) == count)
            measure_type(c, w, pool, t, type, o->exactly);
    }
    t->error[DT_F32] = 0;
    return true;
}

bool choice_measure(Choice *c, const ChoiceMeasure *o, Error *err)
{
    Pool *pool;
    Work work;
    if (!pool_new(&pool, o->threads, err))
        return false;
    bool ok = work_new(&work, c, pool, err);
    for (uint32_t i = 0; ok && i < c->count; i++) {
        ok = measure_tensor(c, &work, pool, &c->tensors[i], o, err);
        if (ok && o->progress)
            o->progress(o->user, i + 1, c->count);
    }
    work_free(&work);
    pool_free(pool);
    return ok;
}

/* ---- fitting ---- */

bool choice_fit(Choice *c, uint64_t budget, Error *err)
{
    const uint32_t per = CANDIDATES;
    auto_free BudgetOption *options = mem_alloc((size_t)c->count * per, sizeof *options);
    auto_free uint32_t *picked = mem_alloc(c->count, sizeof *picked);
    BudgetAnswer answer;
    if (!options || !picked)
        return fail(err, ERR_MEMORY, "no memory to weigh %u tensors", c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        for (uint32_t k = 0; k < per; k++) {
            BudgetOption *o = &options[(size_t)i * per + k];
            DType type = candidates[k].type;
            o->error = c->tensors[i].error[type];
            o->bytes = choice_possible(&c->tensors[i], type) ? bytes_as(&c->tensors[i], type) : 0;
        }
    }
    if (!choose_budget(options, c->count, per, budget, picked, &answer, err))
        return fail_within(err, "fit");
    for (uint32_t i = 0; i < c->count; i++)
        c->tensors[i].type = candidates[picked[i]].type;
    c->error = answer.error;
    c->bound = answer.bound;
    c->exact = answer.exact;
    return true;
}

/* ---- rounding ---- */

static bool check_type(const ChoiceTensor *t, const float *x, Error *err)
{
    uint64_t count = shape_count(t->param->shape), bad = block_misfit(t->type, x, count);
    return bad == count || fail(err, ERR_INPUT, "tensor '%s' holds %g at %llu, which %s cannot",
                                t->param->name, (double)x[bad], (unsigned long long)bad,
                                dtype_info[t->type].name);
}

bool choice_round(const Choice *c, uint32_t threads, Weights *to, Error *err)
{
    Pool *pool;
    Work work;
    assert(to->elements == c->model->weights.elements && to->slab != c->model->weights.slab);
    if (!pool_new(&pool, threads, err))
        return false;
    bool ok = work_new(&work, c, pool, err);
    mem_free(work.errors);
    work.errors = NULL;
    for (uint32_t i = 0; ok && i < c->count; i++) {
        const ChoiceTensor *t = &c->tensors[i];
        ok = check_type(t, c->model->weights.slab + t->param->offset, err);
        work.tensor = t;
        work.type = t->type;
        work.to = to->slab + t->param->offset;
        if (ok)
            pool_for(pool, bands_of(t, 1), run_band, &work);
    }
    work_free(&work);
    pool_free(pool);
    return ok;
}
