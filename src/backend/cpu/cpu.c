/* cpu.c: the cpu backend: host memory, a thread pool, packed inference weights. */
#include "backend/cpu/cpu.h"

#include "base/mem.h"

#include <string.h>

static bool cpu_open(Device **out, DeviceOptions options, Error *err)
{
    CpuDevice *cpu = mem_alloc(1, sizeof *cpu);
    if (!cpu)
        return fail(err, ERR_MEMORY, "no memory for a device");
    cpu->device.backend = &backend_cpu;
    if (!pool_new(&cpu->device.pool, options.threads, err)) {
        mem_free(cpu);
        return false;
    }
    cpu->threads = pool_threads(cpu->device.pool);
    *out = &cpu->device;
    return true;
}

static void cpu_close(Device *device)
{
    if (!device)
        return;
    pool_free(device->pool);
    mem_free(device);
}

static void *cpu_alloc(Device *device, uint64_t bytes)
{
    (void)device;
    void *memory = mem_alloc_aligned(bytes, 64);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

static void cpu_free(Device *device, void *memory)
{
    (void)device;
    mem_free(memory);
}

GemmType cpu_packed_type(const Value *value)
{
    return value->dtype == DT_Q8_0 ? GEMM_Q8_0 : GEMM_F32;
}

/* Rows and columns of one matrix of a value, and how many there are. */
static void matrices_of(const Value *value, uint32_t *count, uint32_t *rows, uint32_t *columns)
{
    const Shape *s = &value->shape;
    *count = s->rank == 3 ? s->dim[0] : 1;
    *rows = s->dim[s->rank - 2];
    *columns = s->dim[s->rank - 1];
}

uint64_t cpu_packed_bytes(const Value *value)
{
    uint32_t count, rows, columns;
    matrices_of(value, &count, &rows, &columns);
    uint64_t bytes = gemm_packed_bytes(cpu_packed_type(value), rows, columns);
    return count == 1 ? bytes : (bytes + 63) / 64 * 64;
}

static uint64_t cpu_value_bytes(const Device *device, const Value *value)
{
    (void)device;
    if (value->packed)
        return cpu_packed_bytes(value) * (value->shape.rank == 3 ? value->shape.dim[0] : 1);
    return dtype_bytes(value->dtype, shape_count(value->shape));
}

static void cpu_write(Device *device, const Value *value, void *to, const void *host)
{
    (void)device;
    if (!value->packed) {
        memcpy(to, host, dtype_bytes(value->dtype, shape_count(value->shape)));
        return;
    }
    uint32_t count, rows, columns;
    matrices_of(value, &count, &rows, &columns);
    uint64_t host_bytes = dtype_bytes(value->dtype, (uint64_t)rows * columns);
    for (uint32_t i = 0; i < count; i++) {
        void *at = (char *)to + i * cpu_packed_bytes(value);
        const void *from = (const char *)host + i * host_bytes;
        if (value->dtype == DT_Q8_0)
            gemm_pack_q8_0(at, from, rows, columns);
        else
            gemm_pack_f32(at, from, rows, columns);
    }
}

static void cpu_read(Device *device, const Value *value, void *host, const void *from)
{
    (void)device;
    memcpy(host, from, dtype_bytes(value->dtype, shape_count(value->shape)));
}

static uint64_t cpu_scratch_bytes(const Device *device, const Graph *g, const Node *node)
{
    const CpuKernel *row = &cpu_kernels[node->op];
    return row->scratch_bytes ? row->scratch_bytes((const CpuDevice *)device, g, node) : 0;
}

static Kernel cpu_kernel(const Device *device, const Graph *g, const Node *node)
{
    (void)device;
    (void)g;
    return cpu_kernels[node->op].kernel;
}

const Backend backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .value_bytes = cpu_value_bytes,
    .write = cpu_write,
    .read = cpu_read,
    .scratch_bytes = cpu_scratch_bytes,
    .kernel = cpu_kernel,
};
