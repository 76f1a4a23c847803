#include "trust/manifest.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64], folder[128], keys[128], public_key[160];
static SignKey key;

static void put(const char *name, const void *bytes, size_t size)
{
    Error err;
    char path[1024];
    assert_ok(fs_join(path, sizeof path, folder, name, &err));
    assert_ok(fs_write(path, bytes, size, &err));
}

static void at(char out[1024], const char *name)
{
    Error err;
    assert_ok(fs_join(out, 1024, folder, name, &err));
}

/* A small folder with files that sort differently by folder and by path, one empty. */
static int setup(void **state)
{
    (void)state;
    Error err;
    char sub[1024];
    snprintf(base, sizeof base, "/tmp/bastide-manifest-XXXXXX");
    if (!mkdtemp(base))
        return -1;
    snprintf(folder, sizeof folder, "%s/model", base);
    snprintf(keys, sizeof keys, "%s/keys", base);
    snprintf(public_key, sizeof public_key, "%s/sign.pub", keys);
    at(sub, "sub/deep");
    if (!fs_make_dirs(sub, &err) || !signkey_open(keys, &key, &err))
        return -1;
    put("model.safetensors", "weights\0weights", 15);
    put("sub.txt", "a", 1);
    put("sub/deep/config.json", "{}", 2);
    put("sub/empty", "", 0);
    auto_json json_t *statement = json_pack("{s:s,s:{s:i}}", "dataset", "abc", "recipe", "n", 3);
    return manifest_sign(folder, "tiny", statement, &key, &err) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(base, &err) ? 0 : -1;
}

static void sign_and_verify(void **state)
{
    (void)state;
    Error err;
    ManifestReport report;
    char path[1024];
    assert_ok(manifest_verify(folder, public_key, &report, &err));
    assert_int_equal(report.files, 4);
    assert_int_equal(report.bytes, 18);
    assert_string_equal(report.key_id, key.id);
    assert_ok(manifest_verify(folder, NULL, &report, &err));
    at(path, "manifest.json");
    auto_json json_t *manifest = NULL;
    assert_ok(json_read(&manifest, path, 10000, &err));
    const json_t *first = json_array_get(json_object_get(manifest, "files"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "path")), "model.safetensors");
    const json_t *statement = json_object_get(manifest, "statement");
    assert_string_equal(json_string_value(json_object_get(statement, "dataset")), "abc");
    assert_fails(manifest_verify(keys, NULL, &report, &err), ERR_NOT_FOUND, "is not signed");
}

/* Flips every bit of every byte of one file; each must be refused and named. */
static void flip_all(const char *name, const char *words)
{
    Error err;
    ManifestReport report;
    char path[1024];
    at(path, name);
    auto_buf Buf text;
    buf_init(&text, 10000);
    assert_ok(fs_read(path, &text, &err));
    for (size_t i = 0; i < text.size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            FILE *file = fopen(path, "r+");
            fseek(file, (long)i, SEEK_SET);
            fputc(text.data[i] ^ 1 << bit, file);
            fclose(file);
            assert_fails(manifest_verify(folder, public_key, &report, &err), ERR_DENIED, words);
            assert_false(manifest_verify(folder, NULL, &report, &err));
        }
        FILE *file = fopen(path, "r+");
        fseek(file, (long)i, SEEK_SET);
        fputc(text.data[i], file);
        fclose(file);
    }
    for (size_t size = text.size; size-- > 0;) { /* every truncation */
        assert_int_equal(truncate(path, (off_t)size), 0);
        assert_false(manifest_verify(folder, NULL, &report, &err));
    }
    auto_buf Buf longer;
    buf_init(&longer, 10001);
    buf_add(&longer, text.data, text.size);
    buf_add_char(&longer, '\n');
    put(name, longer.data, longer.size);
    assert_false(manifest_verify(folder, NULL, &report, &err));
    put(name, text.data, text.size);
    assert_ok(manifest_verify(folder, public_key, &report, &err));
}

static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    flip_all("model.safetensors", "model.safetensors: digest differs");
    flip_all("sub.txt", "sub.txt: digest differs");
    flip_all("sub/deep/config.json", "sub/deep/config.json: digest differs");
    flip_all("manifest.json", "manifest.json: was changed");
    flip_all("manifest.sig", "manifest");
}

static void missing_added_renamed(void **state)
{
    (void)state;
    Error err;
    ManifestReport report;
    char from[1024], to[1024];
    at(from, "sub/empty");
    at(to, "sub/emptz");
    assert_int_equal(rename(from, to), 0);
    assert_fails(manifest_verify(folder, NULL, &report, &err), ERR_DENIED, "sub/empty: is missing");
    assert_int_equal(rename(to, from), 0);
    put("sub/aaa", "", 0);
    assert_fails(manifest_verify(folder, NULL, &report, &err), ERR_DENIED, "sub/aaa: was added");
    at(to, "sub/aaa");
    remove(to);
    put("zz", "", 0);
    assert_fails(manifest_verify(folder, NULL, &report, &err), ERR_DENIED, "zz: was added");
    at(to, "zz");
    remove(to);
    put("sub/manifest.json", "", 0); /* only those of the root are apart */
    assert_fails(manifest_verify(folder, NULL, &report, &err), ERR_DENIED, "sub/manifest.json");
    at(to, "sub/manifest.json");
    remove(to);
    at(from, "sub.txt");
    at(to, "link");
    assert_int_equal(symlink(from, to), 0);
    assert_fails(manifest_verify(folder, NULL, &report, &err), ERR_INPUT, "link: is a symbolic");
    assert_fails(manifest_sign(folder, "x", NULL, &key, &err), ERR_INPUT, "link: is a symbolic");
    remove(to);
    at(to, "bad\nname");
    fclose(fopen(to, "w"));
    assert_fails(manifest_sign(folder, "x", NULL, &key, &err), ERR_INPUT, "not plain UTF-8");
    remove(to);
    at(to, "bad\xff");
    fclose(fopen(to, "w"));
    assert_fails(manifest_sign(folder, "x", NULL, &key, &err), ERR_INPUT, "not plain UTF-8");
    remove(to);
    assert_ok(manifest_verify(folder, public_key, &report, &err));
}

static void another_key_is_refused(void **state)
{
    (void)state;
    Error err;
    ManifestReport report;
    char other_keys[160];
    snprintf(other_keys, sizeof other_keys, "%s/other", base);
    SignKey other;
    assert_ok(signkey_open(other_keys, &other, &err));
    assert_string_not_equal(other.id, key.id);
    assert_ok(manifest_sign(folder, "tiny", NULL, &other, &err));
    assert_ok(manifest_verify(folder, NULL, &report, &err));
    assert_string_equal(report.key_id, other.id);
    assert_fails(manifest_verify(folder, public_key, &report, &err), ERR_DENIED, other.id);
    assert_ok(manifest_sign(folder, "tiny", NULL, &key, &err));
    assert_ok(manifest_verify(folder, public_key, &report, &err));
    signkey_wipe(&other);
    for (size_t i = 0; i < sizeof other; i++)
        assert_int_equal(((uint8_t *)&other)[i], 0);
}

/* A manifest with a right signature and hostile content: the signer is not trusted with paths. */
static void signed_but_hostile(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"format\":\"bastide-manifest/1\",\"files\":[{\"path\":\"../x\"}]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":[{\"path\":\"/etc/passwd\"}]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":[{\"path\":\"a//b\"}]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":[{\"path\":\"a\\nb\"}]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":[{\"path\":7}]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":[7]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":7}",
        "{\"format\":\"bastide-manifest/2\",\"files\":[]}",
        "{\"format\":\"bastide-manifest/1\",\"files\":[{\"path\":\"model.safetensors\"},7]}",
        "[]", "{", ""};
    Error err;
    ManifestReport report;
    char id[40], public_text[64], signature_text[128], text[512];
    sodium_bin2base64(public_text, sizeof public_text, key.public_key, 32,
                      sodium_base64_VARIANT_ORIGINAL);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        uint8_t signature[64];
        crypto_sign_detached(signature, NULL, (const uint8_t *)bodies[i], strlen(bodies[i]),
                             key.secret_key);
        sodium_bin2base64(signature_text, sizeof signature_text, signature, 64,
                          sodium_base64_VARIANT_ORIGINAL);
        snprintf(id, sizeof id, "%s", key.id);
        snprintf(text, sizeof text, "bastide-signature/1\nkey %s %s\nsig %s\n", public_text, id,
                 signature_text);
        put("manifest.json", bodies[i], strlen(bodies[i]));
        put("manifest.sig", text, strlen(text));
        assert_fails(manifest_verify(folder, public_key, &report, &err), ERR_FORMAT,
                     "manifest.json");
    }
    assert_ok(manifest_sign(folder, "tiny", NULL, &key, &err));
}

static void keys_are_guarded(void **state)
{
    (void)state;
    Error err;
    SignKey again, untouched = {0};
    char secret[192];
    struct stat info;
    snprintf(secret, sizeof secret, "%s/sign.key", keys);
    assert_int_equal(stat(secret, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_ok(signkey_open(keys, &again, &err));
    assert_memory_equal(&again, &key, sizeof key);
    assert_int_equal(remove(public_key), 0);
    assert_ok(signkey_open(keys, &again, &err)); /* sign.pub follows from sign.key */
    assert_true(fs_exists(public_key));
    again = untouched;
    chmod(secret, 0640);
    assert_fails(signkey_open(keys, &again, &err), ERR_DENIED, "chmod 600");
    assert_memory_equal(&again, &untouched, sizeof again);
    chmod(secret, 0600);

    auto_buf Buf text;
    buf_init(&text, 1000);
    assert_ok(fs_read(secret, &text, &err));
    for (size_t i = 0; i < text.size - 1; i++) { /* a damaged key never signs */
        char old = text.data[i];
        text.data[i] = old == 'A' ? 'B' : 'A';
        FILE *file = fopen(secret, "r+"); /* not by fs_write: a hundred syncs take long */
        fwrite(text.data, 1, text.size, file);
        fclose(file);
        assert_false(signkey_open(keys, &again, &err));
        text.data[i] = old;
    }
    assert_ok(fs_write(secret, text.data, text.size, &err));
    char hidden[200];
    snprintf(hidden, sizeof hidden, "%s.away", secret);
    rename(secret, hidden);
    assert_fails(signkey_open(keys, &again, &err), ERR_CONFLICT, "no sign.key beside it");
    rename(hidden, secret);
    assert_ok(signkey_open(keys, &again, &err));
}

/* After a fault the folder verifies, or is unsigned; never is there a part of a manifest. */
static void check_not_half_signed(void)
{
    Error err = {0};
    ManifestReport report;
    char path[1024];
    if (!manifest_verify(folder, public_key, &report, &err))
        assert_int_equal(err.code, ERR_NOT_FOUND);
    at(path, "manifest.json");
    auto_json json_t *value = NULL;
    assert_ok(json_read(&value, path, 100000, &err));
    snprintf(path, sizeof path, "%s/manifest.json.tmp-%ld", folder, (long)getpid());
    assert_false(fs_exists(path));
}

static void every_fault_is_an_error(void **state)
{
    (void)state;
    Error err;
    ManifestReport report;
    auto_json json_t *statement = json_pack("{s:s}", "a", "b");
    for (int n = 0, done = 0; !done; n++) {
        fs_fail_after(n, EIO);
        done = manifest_sign(folder, "tiny", statement, &key, &err) &&
               manifest_verify(folder, public_key, &report, &err);
        fs_fail_after(-1, 0);
        check_not_half_signed();
    }
    for (int n = 0, done = 0; !done; n++) {
        uint64_t before = mem_count();
        mem_fail_after(n);
        bool ok = manifest_sign(folder, "tiny", statement, &key, &err) &&
                  manifest_verify(folder, public_key, &report, &err);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        assert_int_equal(ok, done);
        check_not_half_signed();
    }
    char fresh[160];
    SignKey made;
    snprintf(fresh, sizeof fresh, "%s/fresh", base);
    for (int n = 0, done = 0; !done; n++) {
        fs_fail_after(n, EIO);
        done = signkey_open(fresh, &made, &err);
        fs_fail_after(-1, 0);
    }
    assert_ok(signkey_open(fresh, &made, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sign_and_verify),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(missing_added_renamed),
        cmocka_unit_test(another_key_is_refused),
        cmocka_unit_test(signed_but_hostile),
        cmocka_unit_test(keys_are_guarded),
        cmocka_unit_test(every_fault_is_an_error),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
