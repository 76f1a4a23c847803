/* backend.h: a device and its kernels, as one const struct of functions.
 *
 * "ref" keeps every f32 value as double and computes each op as its formula says: it is the
 * specification. "cpu" is the fast one. A backend chooses its own memory form for a value
 * (value_bytes, write, read convert from and to the host's row-major form); a kernel sees pointers
 * in that form. Kernels cannot fail: everything was checked when the graph was built and planned.
 * Threads: one thread drives a device; the device may own more.
 */
#pragma once
#include "base/pool.h"
#include "tensor/ops.h"

typedef struct Backend Backend;
typedef struct Device Device;

typedef struct {
    uint32_t threads; /* 0: all this process may use */
} DeviceOptions;

/* What a kernel sees. data[id] is the memory of value id (aliases resolved). */
typedef struct {
    Device *device;
    const Graph *graph;
    void *const *data;
    void *scratch; /* 64-byte aligned, at least scratch_bytes of this node */
} Exec;
typedef void (*Kernel)(const Exec *x, const Node *node);

struct Device {
    const Backend *backend; /* first in every backend's own device */
    Pool *pool;             /* host threads, for loops outside the graph; NULL: none */
};

struct Backend {
    const char *name; /* "ref", "cpu" */
    bool (*open)(Device **out, DeviceOptions options, Error *err);
    void (*close)(Device *device); /* NULL is a no-op */
    void *(*alloc)(Device *device, uint64_t bytes); /* 64-byte aligned, zeroed; NULL: no memory */
    void (*free)(Device *device, void *memory);
    uint64_t (*value_bytes)(const Device *device, const Value *value);
    /* host: row-major f32 (or i32, or the blocks of a packed q8_0 parameter). */
    void (*write)(Device *device, const Value *value, void *to, const void *host);
    void (*read)(Device *device, const Value *value, void *host, const void *from); /* not packed */
    uint64_t (*scratch_bytes)(const Device *device, const Graph *g, const Node *node);
    Kernel (*kernel)(const Device *device, const Graph *g, const Node *node); /* NULL: unsupported */
};

extern const Backend backend_ref, backend_cpu;
extern const Backend *const backends[]; /* NULL-terminated */
const Backend *backend_named(const char *name); /* NULL: unknown */

/* ---- for kernels ---- */
static inline void *exec_in(const Exec *x, const Node *node, uint32_t i)
{
    return node->in[i] ? x->data[node->in[i]] : NULL;
}
static inline void *exec_out(const Exec *x, const Node *node, uint32_t i)
{
    return node->out[i] ? x->data[node->out[i]] : NULL;
}
static inline Shape exec_shape(const Exec *x, ValueId id)
{
    return graph_value(x->graph, id)->shape;
}
