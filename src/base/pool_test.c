#include "base/pool.h"
#include "base/test.h"

#include <unistd.h>

enum { TASKS = 1000 };

static void count_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    ((uint32_t *)ctx)[task]++;
}

static void every_task_runs_once(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        Error err;
        Pool *pool;
        uint32_t counts[TASKS] = {0};
        assert_ok(pool_new(&pool, threads, &err));
        for (uint32_t round = 0; round < 200; round++) {
            pool_for(pool, round % 3 ? TASKS : round, count_task, counts);
            if (round % 50 == 0)
                usleep(2000); /* long enough for workers to fall asleep */
        }
        uint32_t full = 133, first = counts[0];
        assert_int_equal(counts[TASKS - 1], full);
        assert_int_equal(first, 199);
        pool_free(pool);
    }
}

static void too_many_threads_are_refused(void **state)
{
    (void)state;
    Error err;
    Pool *pool;
    assert_fails(pool_new(&pool, 10000, &err), ERR_LIMIT, "10000 threads");
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(too_many_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
