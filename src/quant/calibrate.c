/* calibrate.c: a training graph with its matrices' inputs and gradients kept; see calibrate.h. */
#include "quant/calibrate.h"

#include "backend/plan.h"
#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROW_TOKENS = 256, ROW_TOKENS_MAX = 1 << 16 };

/* A use while it is measured: sums in double, and the values that are read after each run. */
typedef struct {
    uint32_t matrix, use;      /* of the calibration */
    ValueId input, gradient;   /* 0: not kept */
    double *row, *column;
} Watch;

typedef struct {
    const Model *model;
    Device *device;
    Graph *graph;
    ModelPorts ports;
    Program *program;
    ValueId logits, head_input, head_weight; /* logits 0: not kept */
    Watch *watches;
    uint32_t watch_count, tokens;
    int32_t *ids, *pos, *start, *target;
    float *scale, *slot; /* slot: the embedding's gradient, which must go somewhere */
    float *values;       /* a kept value as the host sees it */
    uint64_t values_max;
    Calibration *result;
} Run;

/* ---- the result ---- */

void calibration_free(Calibration *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->count; i++) {
        for (uint32_t u = 0; u < c->matrices[i].uses; u++) {
            mem_free(c->matrices[i].use[u].row);
            mem_free(c->matrices[i].use[u].column);
        }
    }
    mem_free(c->matrices);
    mem_free(c);
}

const CalibrationMatrix *calibration_find(const Calibration *c, const char *name)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (strcmp(c->matrices[i].name, name) == 0)
            return &c->matrices[i];
    }
    return NULL;
}

static double mean_row(const CalibrationMatrix *m, const CalibrationUse *use)
{
    double sum = 0;
    for (uint32_t i = 0; i < m->rows; i++)
        sum += use->row ? (double)use->row[i] : 1;
    return sum / m->rows;
}

bool calibration_importance(const CalibrationMatrix *m, float *out)
{
    bool known = false;
    for (uint32_t u = 0; u < m->uses; u++)
        known = known || m->use[u].column;
    if (!known)
        return false;
    memset(out, 0, m->columns * sizeof *out);
    for (uint32_t u = 0; u < m->uses; u++) {
        double weight = mean_row(m, &m->use[u]);
        for (uint32_t j = 0; m->use[u].column && j < m->columns; j++)
            out[j] += (float)(weight * (double)m->use[u].column[j]);
    }
    return true;
}

/* ---- recording ---- */

static CalibrationMatrix *matrix_of(Run *r, ValueId param)
{
    const char *name = graph_name(r->graph, param);
    Shape shape = graph_value(r->graph, param)->shape;
    for (uint32_t i = 0; i < r->result->count; i++) {
        if (strcmp(r->result->matrices[i].name, name) == 0)
            return &r->result->matrices[i];
    }
    CalibrationMatrix *m = &r->result->matrices[r->result->count++];
    snprintf(m->name, sizeof m->name, "%s", name);
    m->rows = shape.dim[0];
    m->columns = shape.dim[1];
    return m;
}

static bool add_watch(Run *r, CalibrationKind kind, ValueId param, ValueId input, ValueId output,
                      Error *err)
{
    CalibrationMatrix *m = matrix_of(r, param);
    if (m->uses == CALIBRATION_USES_MAX)
        return fail(err, ERR_INTERNAL, "calibrate: '%s' is used more than twice", m->name);
    Watch *w = &r->watches[r->watch_count++];
    *w = (Watch){.matrix = (uint32_t)(m - r->result->matrices), .use = m->uses, .input = input};
    m->use[m->uses++].kind = kind;
    if (r->result->gradients && output)
        w->gradient = output; /* for now the value itself; resolve_gradients replaces it */
    w->row = mem_alloc(m->rows, sizeof *w->row);
    w->column = mem_alloc(m->columns, sizeof *w->column);
    if (!w->row || !w->column)
        return fail(err, ERR_MEMORY, "no memory for the statistics of '%s'", m->name);
    return true;
}

static bool is_matrix(const Graph *g, ValueId id)
{
    return id && graph_value(g, id)->role == ROLE_PARAM && graph_value(g, id)->shape.rank == 2;
}

/* Every node that reads a matrix. Called before gradients are recorded. */
static bool find_uses(Run *r, Error *err)
{
    Graph *g = r->graph;
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        const Node *node = graph_node(g, i);
        bool ok = true;
        if (node->op == OP_EMBED && is_matrix(g, node->in[0]))
            ok = add_watch(r, USE_EMBED, node->in[0], 0, node->out[0], err);
        else if (node->op == OP_MATMUL && is_matrix(g, node->in[1]))
            ok = add_watch(r, USE_LINEAR, node->in[1], node->in[0], node->out[0], err);
        else if (node->op == OP_XENT && is_matrix(g, node->in[1])) {
            ok = add_watch(r, USE_HEAD, node->in[1], node->in[0], 0, err);
            r->head_input = node->in[0];
            r->head_weight = node->in[1];
        }
        if (!ok)
            return false;
    }
    return true;
}

/* Gradients must flow through everything and into no weight: only the embedding, the first of all,
 * stays trainable. */
static bool record_gradients(Run *r, Error *err)
{
    Graph *g = r->graph;
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        const Node *node = graph_node(g, i);
        for (uint32_t k = 0; k < node->n_in; k++) {
            if (node->in[k] && graph_value(g, node->in[k])->role == ROLE_PARAM &&
                node->op != OP_EMBED)
                graph_freeze_param(g, node->in[k]);
        }
    }
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        if (graph_node(g, i)->op == OP_EMBED)
            graph_value_edit(g, graph_node(g, i)->in[0])->trainable = true;
    }
    if (!graph_grad(g, r->ports.loss, err))
        return false;
    for (uint32_t i = 0; i < r->watch_count; i++) {
        Watch *w = &r->watches[i];
        w->gradient = w->gradient ? graph_value(g, w->gradient)->grad : 0;
        graph_keep(g, w->gradient);
    }
    r->logits = op_linear(g, r->head_input, r->head_weight, 0);
    graph_keep(g, r->logits);
    return true;
}

static bool record(Run *r, Error *err)
{
    BuildSpec spec = {.mode = BUILD_TRAIN, .tokens = r->tokens};
    if (!graph_new(&r->graph, err) ||
        !model_build(r->graph, r->model->family, &r->model->config, &spec, &r->ports, err))
        return false;
    uint32_t nodes = graph_nodes(r->graph);
    r->watches = mem_alloc(nodes, sizeof *r->watches);
    r->result->matrices = mem_alloc(nodes, sizeof *r->result->matrices);
    if (!r->watches || !r->result->matrices)
        return fail(err, ERR_MEMORY, "no memory to list %u operations", nodes);
    if (!find_uses(r, err) || (r->result->gradients && !record_gradients(r, err)))
        return false;
    for (uint32_t i = 0; i < r->watch_count; i++)
        graph_keep(r->graph, r->watches[i].input);
    return graph_finish(r->graph, err);
}

/* ---- memory ---- */

static void size_values(Run *r, ValueId id)
{
    uint64_t count = id ? shape_count(graph_value(r->graph, id)->shape) : 0;
    r->values_max = count > r->values_max ? count : r->values_max;
}

static bool bind_leaves(Run *r, Error *err)
{
    for (ValueId id = 1; id <= graph_values(r->graph); id++) {
        const Value *value = graph_value(r->graph, id);
        const char *name = graph_name(r->graph, id);
        if (value->role == ROLE_GRAD && !value->alias) {
            assert(!r->slot); /* one parameter alone is trainable */
            r->slot = mem_alloc(shape_count(value->shape), sizeof *r->slot);
            if (!r->slot)
                return fail(err, ERR_MEMORY, "no memory for '%s'", name);
            program_bind(r->program, id, r->slot);
        }
        if (value->role != ROLE_PARAM || value->alias)
            continue;
        const ParamInfo *param = weights_find(&r->model->weights, name);
        if (!param)
            return fail(err, ERR_INTERNAL, "the model has no weight '%s'", name);
        program_bind(r->program, id, r->model->weights.slab + param->offset);
    }
    program_bind(r->program, r->ports.ids, r->ids);
    program_bind(r->program, r->ports.pos, r->pos);
    program_bind(r->program, r->ports.start, r->start);
    program_bind(r->program, r->ports.target, r->target);
    if (r->result->gradients)
        program_bind(r->program, graph_find(r->graph, "loss_scale"), r->scale);
    return true;
}

static bool set_up(Run *r, uint32_t threads, Error *err)
{
    if (!backend_cpu.open(&r->device, (DeviceOptions){threads}, err) || !record(r, err) ||
        !program_plan(&r->program, r->graph, r->device, err) ||
        !program_use_arena(r->program, NULL, err))
        return false;
    size_values(r, r->logits);
    for (uint32_t i = 0; i < r->watch_count; i++) {
        size_values(r, r->watches[i].input);
        size_values(r, r->watches[i].gradient);
    }
    r->ids = mem_alloc(4 * (size_t)r->tokens, sizeof *r->ids);
    r->scale = mem_alloc(1, sizeof *r->scale);
    r->values = mem_alloc_aligned(r->values_max * sizeof *r->values + 64, 64);
    if (!r->ids || !r->scale || !r->values)
        return fail(err, ERR_MEMORY, "no memory for a row of %u tokens", r->tokens);
    r->pos = r->ids + r->tokens;
    r->start = r->pos + r->tokens;
    r->target = r->start + r->tokens;
    *r->scale = 1;
    return bind_leaves(r, err);
}

static void tear_down(Run *r)
{
    for (uint32_t i = 0; i < r->watch_count; i++) {
        mem_free(r->watches[i].row);
        mem_free(r->watches[i].column);
    }
    mem_free(r->watches);
    program_free(r->program);
    graph_free(r->graph);
    mem_free(r->ids);
    mem_free(r->scale);
    mem_free(r->slot);
    mem_free(r->values);
    backend_cpu.close(r->device);
}

/* ---- summing ---- */

static const float *read_value(Run *r, ValueId id)
{
    backend_cpu.read(r->device, graph_value(r->graph, id), r->values, program_data(r->program, id));
    return r->values;
}

/* Adds the squares of value[T, width] by column. */
static void add_squares(Run *r, ValueId id, uint32_t width, double *sum)
{
    const float *x = read_value(r, id);
    for (uint32_t t = 0; t < r->tokens; t++, x += width) {
        for (uint32_t j = 0; j < width; j++)
            sum[j] += (double)x[j] * (double)x[j];
    }
}

/* Adds p (1 - p) of each token of the vocabulary: the curvature of the loss by its logit. */
static void add_spread(Run *r, uint32_t vocab, double *sum)
{
    const float *logits = read_value(r, r->logits);
    for (uint32_t t = 0; t < r->tokens; t++, logits += vocab) {
        float most = logits[0];
        double total = 0;
        for (uint32_t i = 1; i < vocab; i++)
            most = logits[i] > most ? logits[i] : most;
        for (uint32_t i = 0; i < vocab; i++)
            total += (double)expf(logits[i] - most);
        for (uint32_t i = 0; i < vocab; i++) {
            double p = (double)expf(logits[i] - most) / total;
            sum[i] += p * (1 - p);
        }
    }
}

static void add_row(Run *r)
{
    for (uint32_t i = 0; i < r->watch_count; i++) {
        Watch *w = &r->watches[i];
        const CalibrationMatrix *m = &r->result->matrices[w->matrix];
        CalibrationKind kind = m->use[w->use].kind;
        if (w->input)
            add_squares(r, w->input, m->columns, w->column);
        if (kind == USE_EMBED) {
            for (uint32_t t = 0; t < r->tokens; t++)
                w->row[r->ids[t]]++;
        }
        if (w->gradient)
            add_squares(r, w->gradient, kind == USE_EMBED ? m->columns : m->rows,
                        kind == USE_EMBED ? w->column : w->row);
        if (kind == USE_HEAD && r->logits)
            add_spread(r, m->rows, w->row);
    }
}

static bool run_row(Run *r, const int32_t *ids, Error *err)
{
    for (uint32_t t = 0; t < r->tokens; t++) {
        r->ids[t] = ids[t];
        r->pos[t] = (int32_t)t;
        r->start[t] = 0;
        r->target[t] = t + 1 < r->tokens ? ids[t + 1] : -1;
    }
    if (!program_run(r->program, err))
        return false;
    float loss = *(const float *)read_value(r, r->ports.loss);
    if (!isfinite(loss))
        return fail(err, ERR_INPUT, "calibrate: the model's loss is not a number");
    add_row(r);
    return true;
}

/* ---- the whole ---- */

static bool take_means(const double *sum, uint32_t count, uint64_t tokens, float **out, Error *err)
{
    *out = mem_alloc(count, sizeof **out);
    if (!*out)
        return fail(err, ERR_MEMORY, "no memory for the statistics of a matrix");
    for (uint32_t i = 0; i < count; i++)
        (*out)[i] = (float)(sum[i] / (double)tokens);
    return true;
}

static bool finish(Run *r, Error *err)
{
    for (uint32_t i = 0; i < r->watch_count; i++) {
        const Watch *w = &r->watches[i];
        CalibrationMatrix *m = &r->result->matrices[w->matrix];
        CalibrationUse *use = &m->use[w->use];
        bool embed = use->kind == USE_EMBED, grads = r->result->gradients;
        if ((!embed || grads) && !take_means(w->column, m->columns, r->result->tokens, &use->column, err))
            return false;
        if ((embed || grads) && !take_means(w->row, m->rows, r->result->tokens, &use->row, err))
            return false;
    }
    return true;
}

static bool run_all(Run *r, const int32_t *ids, uint64_t count, const CalibrateOptions *o,
                    Error *err)
{
    if (!set_up(r, o->threads, err))
        return false;
    uint64_t rows = count / r->tokens;
    for (uint64_t row = 0; row < rows; row++) {
        if (!run_row(r, ids + row * r->tokens, err))
            return false;
        r->result->tokens += r->tokens;
        if (o->progress)
            o->progress(o->user, r->result->tokens, rows * r->tokens);
    }
    return finish(r, err);
}

static bool check_ids(const Model *model, const int32_t *ids, uint64_t count, Error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= model->config.vocab)
            return fail(err, ERR_INPUT, "calibrate: id %d is outside the vocabulary of %u", ids[i],
                        model->config.vocab);
    }
    return true;
}

bool calibrate(Calibration **out, const Model *model, const int32_t *ids, uint64_t count,
               const CalibrateOptions *o, Error *err)
{
    uint32_t tokens = o->row_tokens ? o->row_tokens : ROW_TOKENS;
    tokens = tokens < model->config.context ? tokens : model->config.context;
    tokens = tokens < ROW_TOKENS_MAX ? tokens : ROW_TOKENS_MAX;
    count = o->tokens_max && o->tokens_max < count ? o->tokens_max : count;
    if (count < tokens)
        return fail(err, ERR_INPUT, "calibrate: the text has %llu tokens, a row needs %u",
                    (unsigned long long)count, tokens);
    if (!check_ids(model, ids, count, err))
        return false;
    Run r = {.model = model, .tokens = tokens, .result = mem_alloc(1, sizeof *r.result)};
    if (!r.result)
        return fail(err, ERR_MEMORY, "no memory to calibrate");
    r.result->gradients = o->gradients;
    r.result->row_tokens = tokens;
    bool ok = run_all(&r, ids, count, o, err);
    tear_down(&r);
    if (ok)
        *out = r.result;
    else
        calibration_free(r.result);
    return ok;
}
