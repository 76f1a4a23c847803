#include "serve/serve.h"

#include "base/fs.h"
#include "base/test.h"
#include "store/workspace.h"

#include <stdio.h>

/* What can be wrong before anything listens. The server at work is tested in tests/api. */
static void wrong_options_get_a_sentence(void **state)
{
    (void)state;
    Error err;
    char folder[] = "/tmp/bastide-serve-XXXXXX", pem[64];
    assert_non_null(mkdtemp(folder));
    ServeOptions o = {.workspace = folder, .port_set = true, .program = "/bin/false"};
    assert_fails(serve_run(&o, &err), ERR_NOT_FOUND, "bastide init");
    assert_ok(workspace_init(folder, &err));
    assert_fails(serve_run(&o, &err), ERR_INPUT, "no model to serve");

    const ServeModel unknown = {.name = "lost"};
    o.models = &unknown;
    o.model_count = 1;
    assert_fails(serve_run(&o, &err), ERR_NOT_FOUND, "'lost'");
    const ServeModel twice[] = {{"a", "/m", NULL}, {"a", "/n", NULL}};
    o.models = twice;
    o.model_count = 2;
    assert_fails(serve_run(&o, &err), ERR_INPUT, "named twice");

    o.model_count = 1;
    o.certificate_file = "cert.pem";
    assert_fails(serve_run(&o, &err), ERR_INPUT, "one of them is missing");
    o.key_file = "/nonexistent/key.pem";
    o.certificate_file = o.key_file;
    assert_fails(serve_run(&o, &err), ERR_NOT_FOUND, "key.pem");
    snprintf(pem, sizeof pem, "%s/no.pem", folder);
    assert_ok(fs_write(pem, "no certificate", 14, &err));
    o.key_file = o.certificate_file = pem;
    assert_fails(serve_run(&o, &err), ERR_INPUT, "check certificate and key");
    o.key_file = o.certificate_file = NULL;
    o.host = "somewhere";
    assert_fails(serve_run(&o, &err), ERR_INPUT, "no IPv4");
    assert_ok(fs_remove_tree(folder, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_options_get_a_sentence)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
