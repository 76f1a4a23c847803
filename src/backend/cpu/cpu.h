/* cpu.h: the cpu backend's device and its adapters from graph nodes to the kernels of gemm.h and
 * vec.h. Private to backend/cpu; everything else sees backend_cpu. */
#pragma once
#include "backend/backend.h"
#include "backend/cpu/gemm.h"

typedef struct {
    Device device;
    uint32_t threads;
} CpuDevice;

static inline CpuDevice *cpu_of(const Exec *x)
{
    return (CpuDevice *)x->device;
}

typedef struct {
    Kernel kernel;
    uint64_t (*scratch_bytes)(const CpuDevice *cpu, const Graph *g, const Node *node); /* NULL: 0 */
} CpuKernel;
extern const CpuKernel cpu_kernels[OP_COUNT];

/* cpu.c: packed weights; a stack of matrices is packed matrix by matrix, each in so many bytes. */
GemmType cpu_packed_type(const Value *value);
uint64_t cpu_packed_bytes(const Value *value);

/* cpu_experts.c */
void cpu_expert_matmul(const Exec *x, const Node *node);
void cpu_expert_matmul_back(const Exec *x, const Node *node);
uint64_t cpu_experts_scratch(const CpuDevice *cpu, const Graph *g, const Node *node);

/* cpu_xent.c */
void cpu_xent(const Exec *x, const Node *node);
void cpu_xent_grad(const Exec *x, const Node *node);
uint64_t cpu_xent_scratch(const CpuDevice *cpu, const Graph *g, const Node *node);
