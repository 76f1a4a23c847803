/* cpu_experts.c: products with a matrix per expert.
 *
 * The pairs of an expert are gathered, some at a time, multiplied by the ordinary product, and
 * scattered. A row of a product depends on that row alone (gemm.h), so neither the neighbours nor
 * how many are gathered at once show in the bits; the sums over pairs in the gradient of the weights
 * go in ascending order of pairs. */
#include "backend/cpu/cpu.h"

#include "backend/cpu/gemm.h"

#include <string.h>

enum { GATHER = 256 /* pairs at once */ };

typedef struct {
    const float *x;
    const int32_t *choice;
    uint32_t pairs, per_row, n, m, k; /* pairs to a row of x: C, or 1 when each has its own */
    void *gemm;
    uint32_t *list;    /* [GATHER] pairs at hand */
    float *in, *out;   /* [GATHER, K], [GATHER, M] */
    float *dpair;      /* [pairs, K]: gradients before the sum over a row's pairs */
} Experts;

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Lays out scratch from `block`; NULL only counts. Returns its bytes. */
static size_t experts_init(Experts *e, const CpuDevice *cpu, const Graph *g, const Node *node,
                           char *block)
{
    const Shape w = graph_value(g, node->in[1])->shape;
    *e = (Experts){.pairs = (uint32_t)shape_count(graph_value(g, node->in[2])->shape),
                   .n = w.dim[0], .m = w.dim[1], .k = w.dim[2]};
    e->per_row = e->pairs / graph_value(g, node->in[0])->shape.dim[0];
    bool back = node->op == OP_EXPERT_MATMUL_BACK;
    size_t at_list = round_up(gemm_scratch_bytes(cpu->threads));
    size_t at_in = at_list + round_up(GATHER * sizeof *e->list);
    size_t at_out = at_in + round_up((size_t)GATHER * e->k * sizeof *e->in);
    size_t at_pair = at_out + round_up((size_t)GATHER * e->m * sizeof *e->out);
    size_t end = at_pair + (back ? round_up((size_t)e->pairs * e->k * sizeof *e->dpair) : 0);
    if (block) {
        e->gemm = block;
        e->list = (uint32_t *)(void *)(block + at_list);
        e->in = (float *)(void *)(block + at_in);
        e->out = (float *)(void *)(block + at_out);
        e->dpair = (float *)(void *)(block + at_pair);
    }
    return end;
}

uint64_t cpu_experts_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    Experts e;
    return experts_init(&e, cpu, g, node, NULL);
}

/* The next pairs of an expert from *next on, with their rows of x; returns how many. */
static uint32_t gather(const Experts *e, uint32_t expert, uint32_t *next)
{
    uint32_t count = 0;
    for (; *next < e->pairs && count < GATHER; (*next)++) {
        if (e->choice[*next] != (int32_t)expert)
            continue;
        memcpy(e->in + (size_t)count * e->k, e->x + (size_t)(*next / e->per_row) * e->k,
               e->k * sizeof *e->in);
        e->list[count++] = *next;
    }
    return count;
}

static void scatter(const Experts *e, float *to, const float *from, uint32_t count, uint32_t width)
{
    for (uint32_t i = 0; i < count; i++)
        memcpy(to + (size_t)e->list[i] * width, from + (size_t)i * width, width * sizeof *to);
}

void cpu_expert_matmul(const Exec *x, const Node *node)
{
    Experts e;
    CpuDevice *cpu = cpu_of(x);
    const Value *w = graph_value(x->graph, node->in[1]);
    experts_init(&e, cpu, x->graph, node, x->scratch);
    e.x = exec_in(x, node, 0);
    e.choice = exec_in(x, node, 2);
    float *y = exec_out(x, node, 0);
    const char *weights = exec_in(x, node, 1);
    size_t each = w->packed ? cpu_packed_bytes(w) : (size_t)e.m * e.k * sizeof(float);
    for (uint32_t expert = 0; expert < e.n; expert++) {
        const void *own = weights + expert * each;
        for (uint32_t next = 0, count; (count = gather(&e, expert, &next)) > 0;) {
            if (w->packed)
                gemm_packed(cpu->device.pool, e.gemm, cpu_packed_type(w), false, count, e.m, e.k,
                            e.in, e.k, own, e.out, e.m);
            else
                gemm(cpu->device.pool, e.gemm, (GemmFlags){.transpose_b = true}, count, e.m, e.k,
                     e.in, e.k, own, e.k, e.out, e.m);
            scatter(&e, y, e.out, count, e.m);
        }
    }
}

typedef struct {
    const Experts *e;
    float *dx;
} RowSum;

enum { SUM_ROWS = 16 };

/* dx[t,:] = the sum over t's pairs, ascending. */
static void row_sum_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const RowSum *s = ctx;
    const Experts *e = s->e;
    uint32_t rows = e->pairs / e->per_row, end = (task + 1) * SUM_ROWS;
    for (uint32_t t = task * SUM_ROWS; t < (end < rows ? end : rows); t++) {
        float *to = s->dx + (size_t)t * e->k;
        const float *from = e->dpair + (size_t)t * e->per_row * e->k;
        memcpy(to, from, e->k * sizeof *to);
        for (uint32_t c = 1; c < e->per_row; c++) {
            for (uint32_t i = 0; i < e->k; i++)
                to[i] += from[(size_t)c * e->k + i];
        }
    }
}

void cpu_expert_matmul_back(const Exec *x, const Node *node)
{
    Experts e;
    CpuDevice *cpu = cpu_of(x);
    Pool *pool = cpu->device.pool;
    experts_init(&e, cpu, x->graph, node, x->scratch);
    e.x = exec_in(x, node, 0);
    e.choice = exec_in(x, node, 2);
    const float *w = exec_in(x, node, 1), *dy = exec_in(x, node, 3);
    float *dw = exec_in(x, node, 4);
    for (uint32_t expert = 0; expert < e.n; expert++) {
        size_t own = (size_t)expert * e.m * e.k;
        for (uint32_t next = 0, count; (count = gather(&e, expert, &next)) > 0;) {
            for (uint32_t i = 0; i < count; i++)
                memcpy(e.out + (size_t)i * e.m, dy + (size_t)e.list[i] * e.m, e.m * sizeof *dy);
            if (dw)
                gemm(pool, e.gemm, (GemmFlags){.transpose_a = true, .accumulate = true}, e.m, e.k,
                     count, e.out, e.m, e.in, e.k, dw + own, e.k);
            gemm(pool, e.gemm, (GemmFlags){0}, count, e.k, e.m, e.out, e.m, w + own, e.k, e.in,
                 e.k);
            scatter(&e, e.dpair, e.in, count, e.k);
        }
    }
    RowSum sum = {&e, exec_out(x, node, 0)};
    uint32_t rows = e.pairs / e.per_row;
    pool_for(pool, (rows + SUM_ROWS - 1) / SUM_ROWS, row_sum_task, &sum);
}
