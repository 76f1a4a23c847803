/* pool.c: see pool.h.
 *
 * One 64-bit word holds (generation, next task). A thread takes a task by compare-and-swap on it,
 * which succeeds only while the loop it has seen is still the current one; the loop's function and
 * size stand in one of two slots, by the parity of the generation. The owner waits for tasks that
 * were taken, never for threads that took none: a worker that the system has put to sleep costs
 * nothing. A worker waits on the generation first by spinning, then by futex.
 * Invariants: slot g & 1 is rewritten only for generation g + 2, after all tasks of g + 1 are done,
 * when no compare-and-swap for g can succeed any more; `done` is reset only between loops.
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

typedef struct {
    _Atomic(PoolTask) fn;
    _Atomic(void *) ctx;
    _Atomic uint32_t tasks;
} Slot;

struct Pool {
    uint32_t threads;
    uint32_t started; /* threads really created, less worker 0 */
    Worker *workers;  /* [threads] */
    Slot slots[2];
    _Atomic bool stop;
    _Alignas(64) _Atomic uint64_t work; /* generation << 32 | next task */
    _Alignas(64) _Atomic uint32_t generation; /* the same, for futex */
    _Alignas(64) _Atomic uint32_t done;
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

/* Takes and runs tasks of one generation until none is left or another has begun. */
static void run_tasks(Pool *pool, uint32_t generation, uint32_t worker)
{
    Slot *slot = &pool->slots[generation & 1];
    PoolTask fn = atomic_load_explicit(&slot->fn, memory_order_relaxed);
    void *ctx = atomic_load_explicit(&slot->ctx, memory_order_relaxed);
    uint32_t tasks = atomic_load_explicit(&slot->tasks, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(&pool->work, memory_order_acquire);
    while (seen >> 32 == generation && (uint32_t)seen < tasks) {
        if (!atomic_compare_exchange_weak_explicit(&pool->work, &seen, seen + 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        fn(ctx, (uint32_t)seen, worker);
        if (atomic_fetch_add(&pool->done, 1) + 1 == tasks && atomic_load(&pool->owner_sleeps))
            futex_wake_all(&pool->done);
        seen = atomic_load_explicit(&pool->work, memory_order_acquire);
    }
}

static void *worker_main(void *argument)
{
    Worker *me = argument;
    Pool *pool = me->pool;
    for (uint32_t seen = 0;;) {
        seen = wait_for_change(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        run_tasks(pool, seen, me->index);
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
    atomic_store(&pool->stop, true);
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
    uint32_t generation = atomic_load_explicit(&pool->generation, memory_order_relaxed) + 1;
    Slot *slot = &pool->slots[generation & 1];
    atomic_store_explicit(&slot->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&slot->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&slot->tasks, tasks, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->work, (uint64_t)generation << 32, memory_order_release);
    atomic_store(&pool->generation, generation);
    if (atomic_load(&pool->sleepers))
        futex_wake_all(&pool->generation);
    run_tasks(pool, generation, 0);
    for (uint32_t i = 0; i < SPIN_OWNER; i++) {
        if (atomic_load_explicit(&pool->done, memory_order_acquire) == tasks)
            return;
        cpu_relax();
    }
    atomic_store(&pool->owner_sleeps, 1);
    for (uint32_t done; (done = atomic_load(&pool->done)) != tasks;)
        futex_wait(&pool->done, done);
    atomic_store(&pool->owner_sleeps, 0);
}
