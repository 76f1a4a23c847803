#include "base/mem.h"
#include "base/test.h"

static void alloc_is_zeroed_and_checked(void **state)
{
    (void)state;
    auto_free unsigned char *p = mem_alloc(100, 3);
    assert_non_null(p);
    for (int i = 0; i < 300; i++)
        assert_int_equal(p[i], 0);
    assert_null(mem_alloc(SIZE_MAX, 2));
    assert_null(mem_resize(NULL, SIZE_MAX / 2, 3));
}

static void nth_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t before = mem_count();
    mem_fail_after(1);
    void *first = mem_alloc(1, 1), *second = mem_alloc(1, 1), *third = mem_alloc(1, 1);
    mem_fail_after(-1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    assert_int_equal(mem_count() - before, 3);
    mem_free(first);
    mem_free(third);
}

static void arena_holds_its_limit(void **state)
{
    (void)state;
    Arena arena;
    arena_init(&arena, 1000);
    char *a = arena_alloc(&arena, 1, 600);
    assert_non_null(a);
    memset(a, 7, 600);
    assert_null(arena_alloc(&arena, 1, 401));
    char *b = arena_alloc(&arena, 4, 100);
    assert_non_null(b);
    for (int i = 0; i < 400; i++)
        assert_int_equal(b[i], 0);
    assert_null(arena_alloc(&arena, 1, 1));
    arena_done(&arena);
    assert_string_equal(arena_format(&arena, "%d-%s", 5, "x"), "5-x");
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc_is_zeroed_and_checked),
        cmocka_unit_test(nth_allocation_fails_once),
        cmocka_unit_test(arena_holds_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
