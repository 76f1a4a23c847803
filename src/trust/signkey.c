/* signkey.c: see manifest.h (keys) and signature.h (texts). Secrets leave no copy behind: every
 * buffer that held one is wiped before it is released. */
#include "trust/signature.h"

#include "base/fs.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static_assert(crypto_sign_SECRETKEYBYTES == 64 && crypto_sign_PUBLICKEYBYTES == 32 &&
                  crypto_sign_BYTES == 64, "Ed25519 of libsodium");

enum { VARIANT = sodium_base64_VARIANT_ORIGINAL, BASE64_MAX = 96 };

bool signature_start(Error *err)
{
    return sodium_init() >= 0 || fail(err, ERR_DEVICE, "libsodium finds no random numbers");
}

bool signature_key_id(const uint8_t public_key[32], char id[17], Error *err)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    if (!sha256_bytes(public_key, 32, digest, err))
        return false;
    sha256_hex(digest, hex);
    memcpy(id, hex, 16);
    id[16] = 0;
    return true;
}

/* Exactly `size` bytes of base64. */
static bool decode(const char *text, size_t length, uint8_t *out, size_t size)
{
    size_t got;
    const char *end;
    return sodium_base642bin(out, size, text, length, NULL, &got, &end, VARIANT) == 0 &&
           got == size && end == text + length;
}

void signature_print(const uint8_t public_key[32], const char id[17], const uint8_t signature[64],
                     char out[SIGNATURE_TEXT_MAX])
{
    char key[BASE64_MAX], sig[BASE64_MAX];
    sodium_bin2base64(key, sizeof key, public_key, 32, VARIANT);
    sodium_bin2base64(sig, sizeof sig, signature, 64, VARIANT);
    snprintf(out, SIGNATURE_TEXT_MAX, "bastide-signature/1\nkey %s %s\nsig %s\n", key, id, sig);
}

bool signature_read(const char *text, size_t size, uint8_t public_key[32], char id[17],
                    uint8_t signature[64], Error *err)
{
    uint8_t key[32], sig[64];
    char key_id[17], again[SIGNATURE_TEXT_MAX];
    memset(key, 0, sizeof key);
    memset(sig, 0, sizeof sig);
    signature_print(key, "0123456789abcdef", sig, again); /* every such text has the same places */
    const size_t key_at = strlen("bastide-signature/1\nkey "), sig_at = (size_t)(
                     strstr(again, "\nsig ") + 5 - again);
    bool shaped = size == strlen(again) && decode(text + key_at, 44, key, sizeof key) &&
                  decode(text + sig_at, 88, sig, sizeof sig);
    if (shaped && !signature_key_id(key, key_id, err))
        return false;
    if (shaped)
        signature_print(key, key_id, sig, again);
    if (!shaped || memcmp(text, again, size) != 0)
        return fail(err, ERR_DENIED, "manifest.sig: is not a signature of this program, or was "
                                     "changed");
    memcpy(public_key, key, sizeof key);
    memcpy(signature, sig, sizeof sig);
    memcpy(id, key_id, sizeof key_id);
    return true;
}

/* A key file: base64 of `size` bytes, one line. */
static bool read_key_file(const char *path, uint8_t *out, size_t size, Error *err)
{
    Buf text;
    buf_init(&text, BASE64_MAX);
    if (!fs_read(path, &text, err)) {
        buf_done(&text);
        return false;
    }
    size_t length = text.size;
    while (length && (text.data[length - 1] == '\n' || text.data[length - 1] == '\r'))
        length--;
    bool ok = decode(text.data, length, out, size);
    sodium_memzero(text.data, text.size);
    buf_done(&text);
    return ok || fail(err, ERR_FORMAT, "'%s' does not hold %zu bytes of base64", path, size);
}

static bool write_key_file(const char *path, const uint8_t *bytes, size_t size, Error *err)
{
    char text[BASE64_MAX + 1];
    sodium_bin2base64(text, BASE64_MAX, bytes, size, VARIANT);
    memcpy(text + strlen(text), "\n", 2);
    bool ok = fs_write(path, text, strlen(text), err); /* fs.h creates with mode 0600 */
    sodium_memzero(text, sizeof text);
    return ok;
}

bool signature_read_public(const char *path, uint8_t public_key[32], Error *err)
{
    return read_key_file(path, public_key, 32, err);
}

static bool is_private(const char *path, Error *err)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return fail(err, ERR_IO, "'%s' is not a readable file", path);
    if (info.st_mode & 077)
        return fail(err, ERR_DENIED, "'%s' can be read by others: run chmod 600 on it", path);
    return true;
}

/* Reads the secret key and checks that it is a pair in itself. */
static bool read_pair(const char *path, SignKey *key, Error *err)
{
    uint8_t seed[crypto_sign_SEEDBYTES], expected[64];
    if (!is_private(path, err) || !read_key_file(path, key->secret_key, 64, err))
        return false;
    crypto_sign_ed25519_sk_to_seed(seed, key->secret_key);
    crypto_sign_seed_keypair(key->public_key, expected, seed);
    bool ok = sodium_memcmp(expected, key->secret_key, 64) == 0;
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(expected, sizeof expected);
    return ok || fail(err, ERR_FORMAT, "'%s' is not an Ed25519 key: it was changed", path);
}

/* Makes what is missing; sign.key first, since sign.pub follows from it. */
static bool open_pair(const char *secret, const char *public, SignKey *key, Error *err)
{
    if (fs_exists(secret)) {
        if (!read_pair(secret, key, err))
            return false;
    } else {
        if (fs_exists(public))
            return fail(err, ERR_CONFLICT, "'%s' has no sign.key beside it: restore the key, or "
                                           "move the file away", public);
        crypto_sign_keypair(key->public_key, key->secret_key);
        if (!write_key_file(secret, key->secret_key, 64, err))
            return false;
    }
    if (!fs_exists(public))
        return write_key_file(public, key->public_key, 32, err);
    uint8_t stated[32];
    if (!signature_read_public(public, stated, err))
        return false;
    return memcmp(stated, key->public_key, 32) == 0 ||
           fail(err, ERR_DENIED, "'%s' is not the public half of sign.key", public);
}

bool signkey_open(const char *folder, SignKey *out, Error *err)
{
    char secret[1024], public[1024], lock_path[1024];
    FsLock lock;
    SignKey key = {0};
    if (!signature_start(err) || !fs_make_dirs(folder, err) ||
        !fs_join(secret, sizeof secret, folder, "sign.key", err) ||
        !fs_join(public, sizeof public, folder, "sign.pub", err) ||
        !fs_join(lock_path, sizeof lock_path, folder, "sign.lock", err) ||
        !fs_lock(lock_path, &lock, err))
        return false;
    bool ok = open_pair(secret, public, &key, err) &&
              signature_key_id(key.public_key, key.id, err);
    fs_unlock(&lock);
    if (ok)
        *out = key;
    signkey_wipe(&key);
    return ok;
}

void signkey_wipe(SignKey *key)
{
    sodium_memzero(key, sizeof *key);
}
