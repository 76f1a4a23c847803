/* pool.c: see pool.h.
 *
 * One generation counter announces a loop; workers take tasks from a shared atomic index and
 * report in a second counter. A worker waits on the generation first by spinning, then by futex.
 * Invariant: pool_for returns only after every worker that saw the generation has left the loop,
 * so the loop's fields may be rewritten without a race.
 */
#include "base/pool.h"

#include "base/mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPIN_WORKER = 4000, SPIN_OWNER = 20000 };

typedef struct {
    Pool *pool;
    uint32_t index;
    pthread_t thread;
} Worker;

struct Pool {
    uint32_t threads;
    uint32_t started; /* threads really created, less worker 0 */
    Worker *workers;  /* [threads - 1] */
    PoolTask fn;
    void *ctx;
    uint32_t tasks;
    bool stop;
    _Alignas(64) _Atomic uint32_t generation;
    _Alignas(64) _Atomic uint32_t next;
    _Alignas(64) _Atomic uint32_t left; /* workers still inside the current loop */
    _Alignas(64) _Atomic uint32_t sleepers;
    _Atomic uint32_t owner_sleeps;
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

static uint32_t wait_for_change(Pool *pool, uint32_t seen)
{
    for (uint32_t i = 0; i < SPIN_WORKER; i++) {
        uint32_t now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen)
            return now;
        cpu_relax();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    uint32_t now;
    while ((now = atomic_load(&pool->generation)) == seen)
        futex_wait(&pool->generation, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
    return now;
}

static void run_tasks(Pool *pool, uint32_t worker)
{
    for (;;) {
        uint32_t task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (task >= pool->tasks)
            return;
        pool->fn(pool->ctx, task, worker);
    }
}

static void *worker_main(void *argument)
{
    Worker *me = argument;
    Pool *pool = me->pool;
    uint32_t seen = 0;
    for (;;) {
        seen = wait_for_change(pool, seen);
        if (pool->stop)
            return NULL;
        run_tasks(pool, me->index);
        if (atomic_fetch_sub(&pool->left, 1) == 1 && atomic_load(&pool->owner_sleeps))
            futex_wake_all(&pool->left);
    }
}

bool pool_new(Pool **out, uint32_t threads, Error *err)
{
    if (threads == 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        threads = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
    }
    if (threads > POOL_THREADS_MAX)
        return fail(err, ERR_LIMIT, "%u threads asked, %d is the most", threads, POOL_THREADS_MAX);
    Pool *pool = mem_alloc_aligned(sizeof *pool, 64);
    if (!pool)
        return fail(err, ERR_MEMORY, "no memory for a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->threads = threads;
    pool->workers = mem_alloc(threads, sizeof *pool->workers);
    if (!pool->workers) {
        pool_free(pool);
        return fail(err, ERR_MEMORY, "no memory for a thread pool");
    }
    for (uint32_t i = 1; i < threads; i++) {
        Worker *worker = &pool->workers[i];
        *worker = (Worker){.pool = pool, .index = i};
        int code = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (code) {
            pool_free(pool);
            return fail(err, ERR_LIMIT, "cannot start thread %u: %s", i, strerror(code));
        }
        pool->started++;
    }
    *out = pool;
    return true;
}

void pool_free(Pool *pool)
{
    if (!pool)
        return;
    pool->stop = true;
    atomic_fetch_add(&pool->generation, 1);
    futex_wake_all(&pool->generation);
    for (uint32_t i = 1; i <= pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    mem_free(pool->workers);
    mem_free(pool);
}

uint32_t pool_threads(const Pool *pool)
{
    return pool->threads;
}

void pool_for(Pool *pool, uint32_t tasks, PoolTask fn, void *ctx)
{
    if (pool->threads == 1 || tasks <= 1) {
        for (uint32_t task = 0; task < tasks; task++)
            fn(ctx, task, 0);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->tasks = tasks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->left, pool->threads - 1, memory_order_relaxed);
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers))
        futex_wake_all(&pool->generation);
    run_tasks(pool, 0);
    for (uint32_t i = 0; i < SPIN_OWNER; i++) {
        if (atomic_load_explicit(&pool->left, memory_order_acquire) == 0)
            return;
        cpu_relax();
    }
    atomic_store(&pool->owner_sleeps, 1);
    for (uint32_t left; (left = atomic_load(&pool->left)) != 0;)
        futex_wait(&pool->left, left);
    atomic_store(&pool->owner_sleeps, 0);
}
