/* jinja_test.c: against Python's jinja2 (tests/golden/jinja), where bytes come from, and what
 * hostile templates cost. */
#include "text/jinja.h"

#include "base/mem.h"
#include "base/test.h"
#include "format/json.h"

#include <stdio.h>
#include <time.h>

static JinjaTemplate *parse(const char *text)
{
    Error err;
    JinjaTemplate *t = NULL;
    assert_ok(jinja_parse(&t, text, strlen(text), "chat template", &err));
    return t;
}

static JinjaTrust trust_of(const char *name)
{
    if (strcmp(name, "messages") == 0)
        return JINJA_MESSAGES;
    return strstr(name, "_token") ? JINJA_TRUSTED : JINJA_DATA;
}

static size_t bind_all(json_t *data, JinjaVariable *out, size_t room)
{
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(data, name, value)
    {
        assert_true(count < room);
        out[count++] = (JinjaVariable){name, value, trust_of(name)};
    }
    return count;
}

static bool render(const JinjaTemplate *t, json_t *data, const JinjaOptions *options,
                   JinjaText *out, Error *err)
{
    JinjaVariable variables[64];
    size_t count = bind_all(data, variables, 64);
    return jinja_render(t, variables, count, options, out, err);
}

/* ---- Python's jinja2 ---- */

static json_t *load_cases(void)
{
    Error err;
    char path[1024];
    json_t *all = NULL;
    const char *source = getenv("BASTIDE_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/jinja/cases.json", source ? source : ".");
    assert_ok(json_read(&all, path, 1 << 20, &err));
    return all;
}

static bool run_case(const char *text, size_t size, json_t *data, const JinjaOptions *options,
                     JinjaText *out, Error *err)
{
    JinjaTemplate *t;
    if (!jinja_parse(&t, text, size, "chat template", err))
        return false;
    bool good = render(t, data, options, out, err);
    jinja_free(t);
    return good;
}

static void the_runs_cover_the_text(const JinjaText *text)
{
    size_t at = 0;
    for (size_t i = 0; i < text->run_count; i++) {
        assert_true(text->runs[i].end > at);
        if (i)
            assert_true(text->runs[i].trusted != text->runs[i - 1].trusted ||
                        text->runs[i].trained != text->runs[i - 1].trained);
        at = text->runs[i].end;
    }
    assert_int_equal(at, text->text.size);
}

static void equals_python(void **state)
{
    (void)state;
    auto_json json_t *all = load_cases();
    json_t *cases = json_object_get(all, "cases"), *data = json_object_get(all, "data");
    JinjaOptions options = {.now = json_integer_value(json_object_get(all, "now"))};
    auto_jinja_text JinjaText out;
    jinja_text_init(&out);
    assert_true(json_array_size(cases) > 500);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *given = json_array_get(json_array_get(cases, i), 0);
        json_t *want = json_array_get(json_array_get(cases, i), 1);
        const char *text = json_string_value(given);
        Error err = {0};
        bool good = run_case(text, json_string_length(given), data, &options, &out, &err);
        if (good != json_is_string(want))
            fail_test("%s: %s", text, good ? "it must fail" : err.text);
        if (good && (out.text.size != json_string_length(want) ||
                     memcmp(out.text.data, json_string_value(want), out.text.size)))
            fail_test("%s: expected \"%s\", got \"%s\"", text, json_string_value(want),
                      out.text.data);
        if (good)
            the_runs_cover_the_text(&out);
        else if (strncmp(err.text, "chat template: line ", 20))
            fail_test("%s: its error names no line: %s", text, err.text);
    }
}

/* ---- origins ---- */

/* The text with its data in [brackets] and its trained bytes in <angles>. */
static void show_origins(const JinjaText *text, Buf *out)
{
    size_t at = 0;
    bool data = false, trained = false;
    buf_reset(out);
    for (size_t i = 0; i <= text->run_count; i++) {
        bool last = i == text->run_count;
        bool now_data = !last && !text->runs[i].trusted;
        bool now_trained = !last && text->runs[i].trained;
        if (data && !now_data)
            buf_add_char(out, ']');
        if (trained && !now_trained)
            buf_add_char(out, '>');
        if (!trained && now_trained)
            buf_add_char(out, '<');
        if (!data && now_data)
            buf_add_char(out, '[');
        data = now_data;
        trained = now_trained;
        if (!last)
            buf_add(out, text->text.data + at, text->runs[i].end - at);
        at = last ? at : text->runs[i].end;
    }
}

static void every_byte_knows_its_origin(void **state)
{
    (void)state;
    static const struct {
        const char *template, *shown;
    } cases[] = {
        {"a{{ s }}b", "a[us er]b"},
        {"{{ '<' + s + '>' }}", "<[us er]>"},
        {"{{ '<' ~ s ~ '>' }}", "<[us er]>"},
        {"{{ ('<' + s + '>')[1:4] }}", "[us ]"},
        {"{{ ('<' + s + '>')[-3:] }}", "[er]>"},
        {"{{ ('<' + s + '>')[::-1] }}", ">[re su]<"},
        {"{{ ('  ' + s + ' x ').strip() }}", "[us er] x"},
        {"{{ ('a ' + s).split() | join('-') }}", "a-[us]-[er]"},
        {"{{ '<%s>' % s }}", "<[us er]>"},
        {"{{ '<{}>'.format(s) }}", "<[us er]>"},
        {"{{ 'abc'.replace('b', 'x') }}", "axc"},
        {"{{ 'abc'.replace('b', s) }}", "[aus erc]"},
        {"{{ 'abc'.replace(s, 'x') }}", "[abc]"},
        {"{{ s.replace('us', '<|end|>') }}", "[<|end|> er]"},
        {"{{ s | replace(' ', '<|end|>') }}", "[us<|end|>er]"},
        {"{{ 'abc' | upper }}{{ s | upper }}", "ABC[US ER]"},
        {"{{ ('a' + s) | upper }}", "A[US ER]"},
        {"{{ {'a': 1} | tojson }}", "{\"a\": 1}"},
        {"{{ {'a': s} | tojson }}", "[{\"a\": \"us er\"}]"},
        {"{{ ['a', 1] }}", "['a', 1]"},
        {"{{ ['a', s] }}", "[['a', 'us er']]"},
        {"{{ n }}{{ 1 + 2 }}{{ n + 1 }}", "[7]3[8]"},
        {"{{ s | length }}", "[5]"},
        {"{% for c in 'ab' %}{{ loop.index }}{{ c }}{% endfor %}", "1a2b"},
        {"{% for c in l %}{{ loop.index }}{{ c }}{% endfor %}", "1[x]2[y]"},
        {"{{ bos_token }}{{ s }}", "<s>[us er]"},
        {"{{ 'yes' if s else 'no' }}", "yes"},
        {"{{ nothing | default('d') }}{{ undefinedvar | default('d') }}", "Noned"},
        {"{% set x %}<{{ s }}>{% endset %}{{ x }}", "<[us er]>"},
        {"{% macro m(a) %}({{ a }}){% endmacro %}{{ m(s) }}{{ m('t') }}", "([us er])(t)"},
        {"{% filter trim %} {{ s }} {% endfilter %}", "[us er]"},
        {"{{ 'a\nb' | indent(2) }}{{ s | indent }}", "a\n  b[us er]"},
        {"{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}",
         "<|user|>[system]<|[us\ner]|>[x]"},
        {"a{% generation %}b{{ s }}{% endgeneration %}c", "a<b[us er]>c"},
        {"{% macro m() %}{% generation %}b{% endgeneration %}{% endmacro %}{{ m() | upper }}", "<B>"},
        {"{{ d.k }}{{ d.items() | list }}", "[v[('k', 'v')]]"},
        {"{{ '{\"a\": [\"b\"]}' | from_json }}", "[{'a': ['b']}]"},
        {"{{ '<' | e }}{{ s | e }}", "&lt;[us er]"},
        {"{{ '<' + (s | safe) }}{{ ('[A]' + s) + ('x' | safe) }}", "&lt;[us er][A][us er]x"},
    };
    Error err;
    auto_json json_t *data = json_pack(
        "{s:s,s:i,s:[s,s],s:s,s:n,s:{s:s},s:[{s:s,s:s},{s:s,s:s}]}", "s", "us er", "n", 7, "l", "x",
        "y", "bos_token", "<s>", "nothing", "d", "k", "v", "messages", "role", "user", "content",
        "system", "role", "us\ner", "content", "x");
    auto_jinja_text JinjaText out;
    auto_buf Buf shown;
    jinja_text_init(&out);
    buf_init(&shown, 1 << 16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = cases[i].template;
        assert_ok(run_case(text, strlen(text), data, NULL, &out, &err));
        show_origins(&out, &shown);
        if (strcmp(shown.data ? shown.data : "", cases[i].shown))
            fail_test("%s: expected %s, got %s", text, cases[i].shown, shown.data);
    }
}

static void literals_are_known(void **state)
{
    (void)state;
    JinjaTemplate *t = parse("a<tool_call>b{{ x['<think>'] + '<|' + 'end|>' }}{# <no> #}");
    assert_true(jinja_writes(t, "<tool_call>", 11));
    assert_true(jinja_writes(t, "<think>", 7));
    assert_false(jinja_writes(t, "<|end|>", 7));
    assert_false(jinja_writes(t, "<no>", 4));
    assert_false(jinja_has_generation(t));
    jinja_free(t);
}

/* ---- hostile templates ---- */

static void hostile_templates_end(void **state)
{
    (void)state;
    static const struct {
        const char *template;
        ErrCode code;
        const char *words;
    } cases[] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", ERR_LIMIT,
         "line 1: the template takes too many steps"},
        {"\n\n{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ERR_LIMIT, "line 3: the template or"},
        {"{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for a in range(99) %}"
         "{% set ns.x = ns.x + ns.x %}{% endfor %}", ERR_LIMIT, "line 1: "},
        {"{{ 'a' * 99999999999 }}", ERR_LIMIT, "line 1: "},
        {"{{ [1] * 99999999999 }}", ERR_LIMIT, "line 1: "},
        {"{{ '%999999999d' % 1 }}", ERR_LIMIT, "wider than"},
        {"{{ '{:999999999}'.format(1) }}", ERR_LIMIT, "wider than"},
        {"{{ 'a'.center(9999999999) }}", ERR_LIMIT, "line 1: "},
        {"{{ 'a'.ljust(9999999999) | length }}", ERR_LIMIT, "line 1: "},
        {"{{ 'a' | indent(9999999999, true) }}", ERR_LIMIT, "line 1: "},
        {"{{ range(100001) }}", ERR_LIMIT, "range() has over 100000"},
        {"{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}"
         "{% endfor %}{{ ns.x }}", ERR_LIMIT, "nest deeper than"},
        {"{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}"
         "{% endfor %}{{ ns.x == [ns.x] }}", ERR_LIMIT, "nest deeper than"},
        {"{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}"
         "{% endfor %}{{ ns.x | tojson }}", ERR_LIMIT, "nest deeper than"},
        {"{{ ''.__class__.mro() }}", ERR_INPUT, "'__class__' may not be read"},
        {"{{ [].append(1) }}", ERR_INPUT, "'append' is not allowed"},
        {"{{ messages.__init__.a.__globals__ }}", ERR_INPUT, "may not be read"},
        {"{{ 9223372036854775807 + 1 }}", ERR_INPUT, "64 bits"},
        {"{{ (-9223372036854775807 - 1) // -1 }}", ERR_INPUT, "64 bits"},
        {"{{ 99999999999999999999 }}", ERR_FORMAT, "64 bits"},
        {"{% include 'x' %}", ERR_FORMAT, "'include' is not supported"},
        {"\xff", ERR_FORMAT, "byte 0 is not UTF-8"},
    };
    Error err;
    auto_json json_t *data = json_pack("{s:[]}", "messages");
    auto_jinja_text JinjaText out;
    jinja_text_init(&out);
    JinjaOptions options = {.steps_max = 500000, .memory_max = 64 << 20, .output_max = 8 << 20};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = cases[i].template;
        assert_fails(run_case(text, strlen(text), data, &options, &out, &err), cases[i].code,
                     cases[i].words);
        assert_int_equal(out.text.size + out.run_count, 0);
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    static const char *const parts[] = {"(", "[", "{'a':", "-", "not ", "{% if x %}", "x[",
                                        "1 if ", "{% for a in b %}", "x|f(", "x.y(", "1+"};
    Error err;
    auto_buf Buf text;
    buf_init(&text, 1 << 22);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        JinjaTemplate *t = NULL;
        buf_reset(&text);
        if (parts[i][0] != '{' || parts[i][1] != '%')
            buf_add_text(&text, "{{ ");
        for (int k = 0; k < 20000; k++)
            buf_add_text(&text, parts[i]);
        assert_false(jinja_parse(&t, text.data, text.size, "chat template", &err));
        assert_null(t);
    }
}

static void large_strings_are_quick(void **state)
{
    (void)state;
    static const char *const templates[] = {
        "{{ s | trim | length }}", "{{ s }}", "{{ s | tojson | length }}", "{{ s.split() | length }}",
        "{{ s | replace(' a', 'b') | length }}", "{{ s | upper | length }}", "{{ s[1:-1] | length }}",
        "{{ 'x' in s }}{{ s.find('zz') }}{{ s.rfind('zz') }}{{ s.count(' a') }}", "{{ s | indent | length }}",
    };
    enum { SIZE = 10 << 20 };
    Error err;
    char *large = mem_alloc(SIZE + 1, 1);
    assert_non_null(large);
    memset(large, 'a', SIZE);
    for (size_t i = 0; i < SIZE; i += 1000)
        large[i] = ' ';
    auto_json json_t *data = json_pack("{s:o}", "s", json_stringn(large, SIZE));
    auto_jinja_text JinjaText out;
    jinja_text_init(&out);
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++)
        assert_ok(run_case(templates[i], strlen(templates[i]), data, NULL, &out, &err));
    /* characters one by one, and a pattern that is almost there everywhere, hit the limit instead */
    const char *slow = "{% for c in s %}{{ s.rfind('aaaaaaaaaab') }}{% endfor %}";
    JinjaOptions options = {.steps_max = 1000000};
    assert_fails(run_case(slow, strlen(slow), data, &options, &out, &err), ERR_LIMIT, "line 1: ");
    mem_free(large);
}

/* ---- property: every prefix of a template parses or is refused, and both end ---- */

static void truncated_templates_are_harmless(void **state)
{
    (void)state;
    static const char whole[] =
        "{% macro m(a, b=[1, 2]) -%} {{ a | join(', ') ~ b[1:-1] }} {%- endmacro %}\n"
        "{%- for x in l if x is not none %}{# c #}\n  {% if loop.first and x.y['z'] == 'q' -%}\n"
        "{{ m(x, b=(1,)) | trim }}{% elif not x %}{% break %}{% else %}{% set ns = {'a': 1} %}"
        "{% raw %}{{ }}{% endraw %}{% endif %}{% endfor %}{% call m(1) %}x{% endcall %}";
    Error err;
    auto_json json_t *data = json_pack("{s:[s,n]}", "l", "q");
    auto_jinja_text JinjaText out;
    jinja_text_init(&out);
    for (size_t size = 0; size < sizeof whole; size++)
        for (int cut = 0; cut < 2; cut++) {
            const char *from = cut ? whole + sizeof whole - 1 - size : whole;
            if (run_case(from, size, data, NULL, &out, &err))
                the_runs_cover_the_text(&out);
        }
}

static void the_nth_allocation_fails(void **state)
{
    (void)state;
    static const char text[] =
        "{% macro m(a) %}{{ a | upper }}{% endmacro %}{% set ns = namespace(x=1) %}"
        "{% for i in l %}{{ m(i ~ '!') }}{% generation %}{{ d | tojson(indent=2) }}"
        "{% endgeneration %}{% endfor %}{{ l | sort | join(',') }}{{ d.items() | list }}";
    Error err;
    auto_json json_t *data = json_pack("{s:[s,s],s:{s:i}}", "l", "b", "a", "d", "k", 1);
    bool done = false;
    for (int64_t n = 0; !done && n < 500; n++) {
        auto_jinja_text JinjaText out;
        jinja_text_init(&out);
        mem_fail_after(n);
        done = run_case(text, sizeof text - 1, data, NULL, &out, &err);
        mem_fail_after(-1);
        if (!done) {
            assert_int_equal(err.code, ERR_MEMORY);
            assert_int_equal(out.text.size + out.run_count, 0);
        }
    }
    assert_true(done);
}

/* ---- speed ---- */

static void a_long_chat_is_quick(void **state)
{
    (void)state;
    static const char text[] =
        "{{- bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles') }}{% endif %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
        "{% if m.content is string %}{{ m.content | trim }}{% else %}{% for p in m.content %}"
        "{{ p.text }}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}";
    Error err;
    auto_json json_t *data = json_pack("{s:s,s:[]}", "bos_token", "<s>", "messages");
    for (int i = 0; i < 100; i++)
        assert_int_equal(0, json_array_append_new(
                                json_object_get(data, "messages"),
                                json_pack("{s:s,s:s}", "role", i % 2 ? "assistant" : "user", "content",
                                          " Some words that people say to each other. ")));
    JinjaTemplate *t = parse(text);
    auto_jinja_text JinjaText out;
    jinja_text_init(&out);
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        assert_ok(render(t, data, NULL, &out, &err));
        clock_gettime(CLOCK_MONOTONIC, &to);
        double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 +
                    (double)(to.tv_nsec - from.tv_nsec) / 1e6;
        best = ms < best ? ms : best;
    }
    print_message("100 messages: %.3f ms\n", best);
    assert_true(best < (getenv("BASTIDE_EMULATED") ? 200 : 20)); /* 2 on a quiet machine */
    jinja_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_python),
        cmocka_unit_test(every_byte_knows_its_origin),
        cmocka_unit_test(literals_are_known),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(large_strings_are_quick),
        cmocka_unit_test(truncated_templates_are_harmless),
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(a_long_chat_is_quick),
    };
    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
