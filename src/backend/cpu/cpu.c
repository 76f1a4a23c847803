/* cpu.c: the cpu backend: host memory, a thread pool, packed inference weights. */
#include "backend/cpu/cpu.h"

#include "backend/cpu/gemm.h"
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

static GemmType packed_type(const Value *value)
{
    return value->dtype == DT_Q8_0 ? GEMM_Q8_0 : GEMM_F32;
}

static uint64_t cpu_value_bytes(const Device *device, const Value *value)
{
    (void)device;
    if (value->packed)
        return gemm_packed_bytes(packed_type(value), value->shape.dim[0], value->shape.dim[1]);
    return dtype_bytes(value->dtype, shape_count(value->shape));
}

static void cpu_write(Device *device, const Value *value, void *to, const void *host)
{
    (void)device;
    if (!value->packed)
        memcpy(to, host, dtype_bytes(value->dtype, shape_count(value->shape)));
    else if (value->dtype == DT_Q8_0)
        gemm_pack_q8_0(to, host, value->shape.dim[0], value->shape.dim[1]);
    else
        gemm_pack_f32(to, host, value->shape.dim[0], value->shape.dim[1]);
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
