/* pool.h: a fixed crew of threads that run the tasks of one loop together.
 *
 * pool_for(pool, n, fn, ctx) calls fn(ctx, task, worker) once for each task in [0, n), in any
 * order and on any thread, and returns when all are done. Which thread runs a task is not fixed;
 * results are bit-equal for every thread count as long as a task depends on its number alone.
 * `worker` in [0, pool_threads) is the index of the running thread: for scratch memory only.
 * Idle workers spin for some microseconds, then sleep. The calling thread is worker 0.
 * Threads: one pool_for at a time per pool; tasks must not call pool_for.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef struct Pool Pool;
typedef void (*PoolTask)(void *ctx, uint32_t task, uint32_t worker);

enum { POOL_THREADS_MAX = 256 };

/* threads 0: as many as this process may run on at once. */
bool pool_new(Pool **out, uint32_t threads, Error *err) MUST_CHECK;
void pool_free(Pool *pool); /* NULL is a no-op */
uint32_t pool_threads(const Pool *pool);
void pool_for(Pool *pool, uint32_t tasks, PoolTask fn, void *ctx);
