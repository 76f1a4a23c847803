/* cpu_xent.c: the head and its cross-entropy in chunks of rows: all logits are never held.
 *
 * Rows without a target cost nothing: the others are gathered first. Per chunk: logits = h W^T;
 * softmax and loss in place; then dh = logits W and dW += logits^T h while the chunk is in cache.
 * The chunk's size depends on V alone, so bits do not depend on threads.
 * Scratch: [gemm | row numbers T | targets C | losses C | h C*D | dh C*D | logits C*V].
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/vec.h"

#include <string.h>

enum { CHUNK_BYTES = 48 << 20, CHUNK_LEAST = 64, CHUNK_MOST = 1024 };

typedef struct {
    void *gemm;
    int32_t *row, *target;
    double *loss;
    float *h, *dh, *logits;
    uint32_t chunk;
    uint64_t bytes;
} Parts;

static Parts carve(const CpuDevice *cpu, char *base, uint32_t t, uint32_t d, uint32_t v)
{
    uint64_t chunk = CHUNK_BYTES / (sizeof(float) * (uint64_t)v) / CHUNK_LEAST * CHUNK_LEAST;
    chunk = chunk < CHUNK_LEAST ? CHUNK_LEAST : chunk > CHUNK_MOST ? CHUNK_MOST : chunk;
    uint64_t sizes[] = {gemm_scratch_bytes(cpu->threads), t * sizeof(int32_t),
                        chunk * sizeof(int32_t), chunk * sizeof(double),
                        chunk * d * sizeof(float), chunk * d * sizeof(float),
                        chunk * v * sizeof(float)};
    char *at[7];
    uint64_t offset = 0;
    for (int i = 0; i < 7; i++) {
        at[i] = base ? base + offset : NULL;
        offset += (sizes[i] + 63) / 64 * 64;
    }
    return (Parts){at[0], (int32_t *)at[1], (int32_t *)at[2], (double *)at[3], (float *)at[4],
                   (float *)at[5], (float *)at[6], (uint32_t)chunk, offset};
}

uint64_t cpu_xent_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    Shape h = graph_value(g, node->in[0])->shape;
    return carve(cpu, NULL, h.dim[0], h.dim[1], graph_value(g, node->in[1])->shape.dim[0]).bytes;
}

typedef struct {
    const float *h, *w;
    const int32_t *target;
    float *dh, *dw; /* NULL: not wanted */
    float scale;
    uint32_t d, v;
} Head;

/* Rows row[0..count) of the chunk; returns the sum of their losses. */
static double run_chunk(CpuDevice *cpu, const Parts *p, const Head *head, const int32_t *row,
                        uint32_t count)
{
    uint32_t d = head->d, v = head->v;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(p->h + (size_t)i * d, head->h + (size_t)row[i] * d, d * sizeof(float));
        p->target[i] = head->target[row[i]];
    }
    gemm(cpu->device.pool, p->gemm, (GemmFlags){.transpose_b = true}, count, v, d, p->h, d, head->w, d,
         p->logits, v);
    vec_xent_rows(cpu->device.pool, p->logits, v, p->target, p->loss, head->dh != NULL, head->scale,
                  count, v);
    if (head->dh) {
        gemm(cpu->device.pool, p->gemm, (GemmFlags){0}, count, d, v, p->logits, v, head->w, d, p->dh, d);
        for (uint32_t i = 0; i < count; i++)
            memcpy(head->dh + (size_t)row[i] * d, p->dh + (size_t)i * d, d * sizeof(float));
    }
    if (head->dw)
        gemm(cpu->device.pool, p->gemm, (GemmFlags){.transpose_a = true, .accumulate = true}, v, d, count,
             p->logits, v, p->h, d, head->dw, d);
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += p->loss[i];
    return sum;
}

static void run(const Exec *x, const Node *node, const Head *head)
{
    CpuDevice *cpu = cpu_of(x);
    uint32_t t = exec_shape(x, node->in[0]).dim[0], rows = 0;
    Parts p = carve(cpu, x->scratch, t, head->d, head->v);
    for (uint32_t i = 0; i < t; i++) {
        if (head->target[i] >= 0)
            p.row[rows++] = (int32_t)i;
    }
    if (head->dh && rows < t)
        memset(head->dh, 0, (size_t)t * head->d * sizeof(float));
    double loss = 0;
    for (uint32_t done = 0; done < rows; done += p.chunk) {
        uint32_t count = rows - done < p.chunk ? rows - done : p.chunk;
        loss += run_chunk(cpu, &p, head, p.row + done, count);
    }
    *(float *)exec_out(x, node, 0) = (float)loss;
}

static Head head_of(const Exec *x, const Node *node)
{
    return (Head){.h = exec_in(x, node, 0),
                  .w = exec_in(x, node, 1),
                  .target = exec_in(x, node, 2),
                  .d = exec_shape(x, node->in[0]).dim[1],
                  .v = exec_shape(x, node->in[1]).dim[0]};
}

void cpu_xent(const Exec *x, const Node *node)
{
    Head head = head_of(x, node);
    run(x, node, &head);
}

void cpu_xent_grad(const Exec *x, const Node *node)
{
    Head head = head_of(x, node);
    head.scale = *(const float *)exec_in(x, node, 3);
    head.dh = exec_out(x, node, 1);
    head.dw = exec_in(x, node, 4);
    run(x, node, &head);
}
