/* ref.c: the ref backend: f32 values are kept as double, integers as they are. */
#include "backend/ref/ref.h"

#include "base/mem.h"

#include <string.h>

static bool ref_open(Device **out, DeviceOptions options, Error *err)
{
    (void)options;
    Device *device = mem_alloc(1, sizeof *device);
    if (!device)
        return fail(err, ERR_MEMORY, "no memory for a device");
    device->backend = &backend_ref;
    *out = device;
    return true;
}

static void ref_close(Device *device)
{
    mem_free(device);
}

static void *ref_alloc(Device *device, uint64_t bytes)
{
    (void)device;
    return mem_alloc(bytes, 1);
}

static void ref_free(Device *device, void *memory)
{
    (void)device;
    mem_free(memory);
}

static uint64_t ref_value_bytes(const Device *device, const Value *value)
{
    (void)device;
    return shape_count(value->shape) * (value->dtype == DT_I32 ? 4 : 8);
}

static void ref_write(Device *device, const Value *value, void *to, const void *host)
{
    (void)device;
    uint64_t count = shape_count(value->shape);
    double *wide = to;
    if (value->dtype == DT_I32) {
        memcpy(to, host, count * 4);
    } else if (value->dtype == DT_Q8_0) {
        for (uint64_t i = 0; i < count; i += 32) {
            float block[32];
            dtype_dequantise_q8_0((const char *)host + i / 32 * 34, block, 32);
            for (int k = 0; k < 32; k++)
                wide[i + k] = block[k];
        }
    } else {
        for (uint64_t i = 0; i < count; i++)
            wide[i] = ((const float *)host)[i];
    }
}

static void ref_read(Device *device, const Value *value, void *host, const void *from)
{
    (void)device;
    uint64_t count = shape_count(value->shape);
    if (value->dtype == DT_I32) {
        memcpy(host, from, count * 4);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        ((float *)host)[i] = (float)((const double *)from)[i];
}

static uint64_t ref_scratch_bytes(const Device *device, const Graph *g, const Node *node)
{
    (void)device;
    /* attention: a row of scores; xent: a row of logits */
    uint64_t most = 0;
    for (uint32_t k = 0; k < node->n_in; k++) {
        if (!node->in[k])
            continue;
        Shape shape = graph_value(g, node->in[k])->shape;
        for (uint32_t i = 0; i < shape.rank; i++)
            most = shape.dim[i] > most ? shape.dim[i] : most;
    }
    uint64_t page = node->op == OP_ATTENTION_CACHED ? node->args.attention.page : 1;
    return 2 * most * page * sizeof(double);
}

static const Kernel ref_kernels[OP_COUNT] = {
    [OP_EMBED] = ref_embed,
    [OP_MATMUL] = ref_matmul,
    [OP_ADD] = ref_add,
    [OP_MUL] = ref_mul,
    [OP_SCALE] = ref_scale,
    [OP_RMS_NORM] = ref_rms_norm,
    [OP_ROPE] = ref_rope,
    [OP_SWIGLU] = ref_swiglu,
    [OP_ATTENTION] = ref_attention,
    [OP_CACHE_WRITE] = ref_cache_write,
    [OP_ATTENTION_CACHED] = ref_attention_cached,
    [OP_XENT] = ref_xent,
    [OP_EMBED_BACK] = ref_embed_back,
    [OP_RMS_NORM_BACK] = ref_rms_norm_back,
    [OP_SWIGLU_BACK] = ref_swiglu_back,
    [OP_ATTENTION_BACK] = ref_attention_back,
    [OP_XENT_GRAD] = ref_xent_grad,
    [OP_BIAS] = ref_bias,
    [OP_BIAS_BACK] = ref_bias_back,
    [OP_POSITION_SCALE] = ref_position_scale,
    [OP_ROUTE] = ref_route,
    [OP_ROUTE_BACK] = ref_route_back,
    [OP_EXPERT_MATMUL] = ref_expert_matmul,
    [OP_EXPERT_MATMUL_BACK] = ref_expert_matmul_back,
    [OP_EXPERT_SUM] = ref_expert_sum,
    [OP_EXPERT_SUM_BACK] = ref_expert_sum_back,
};

static Kernel ref_kernel(const Device *device, const Graph *g, const Node *node)
{
    (void)device;
    (void)g;
    return ref_kernels[node->op];
}

const Backend backend_ref = {
    .name = "ref",
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .free = ref_free,
    .value_bytes = ref_value_bytes,
    .write = ref_write,
    .read = ref_read,
    .scratch_bytes = ref_scratch_bytes,
    .kernel = ref_kernel,
};
