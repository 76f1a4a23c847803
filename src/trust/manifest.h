/* manifest.h: a signed statement about a folder: what is in it and where it came from.
 *
 * manifest.json = {"format": "bastide-manifest/1", "name", "created", "files": [{"path", "bytes",
 * "sha256"}...] (sorted; every regular file but the two below), "statement": {...}} and
 * manifest.sig = base64(Ed25519 signature over the bytes of manifest.json) + key id.
 * Signatures are libsodium's crypto_sign_detached. The statement carries recipe, dataset digest,
 * parent, tool version: any JSON object the caller gives.
 */
#pragma once
#include "base/hash.h"
#include "format/json.h"

/* A signing key pair in a folder: `sign.key` (0600, 64 bytes base64) and `sign.pub`. Made when absent. */
typedef struct {
    uint8_t public_key[32], secret_key[64];
    char id[17]; /* first 16 hex digits of SHA-256 of the public key */
} SignKey;
bool signkey_open(const char *folder, SignKey *out, Error *err) MUST_CHECK;
void signkey_wipe(SignKey *key);

bool manifest_sign(const char *folder, const char *name, const json_t *statement,
                   const SignKey *key, Error *err) MUST_CHECK;

typedef struct {
    uint32_t files;
    uint64_t bytes;
    char key_id[17];
} ManifestReport;
/* Verifies signature (against `sign.pub` at key_path, NULL: only the key named inside, reported)
 * and every file. Errors name the first file that differs, is missing, or was added:
 * ERR_DENIED "model.safetensors: digest differs from the signed one". */
bool manifest_verify(const char *folder, const char *key_path, ManifestReport *out,
                     Error *err) MUST_CHECK;
