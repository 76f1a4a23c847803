/* manifest.h: a signed statement about a folder: what is in it and where it came from.
 *
 * manifest.json = {"format": "bastide-manifest/1", "name", "created", "files": [{"path", "bytes",
 * "sha256"}...] (sorted by the bytes of path; every regular file but the two below), "statement":
 * {...}} and manifest.sig = three lines (signature.h): format, public key with its id, Ed25519
 * signature over the bytes of manifest.json (libsodium's crypto_sign_detached). The statement
 * carries recipe, dataset digest, parent, tool version: any JSON object the caller gives.
 *
 * Invariants: the signature is checked before a byte of the manifest is parsed; symbolic links and
 * special files are refused on both sides; signing removes an old signature first, so a folder
 * whose signing was interrupted is unsigned, never wrongly signed. Folders that hold no file are
 * not stated. Limits: 65536 files, paths of 512 bytes, 16 levels.
 * Threads: any; nobody may write to the folder meanwhile.
 */
#pragma once
#include "base/hash.h"
#include "format/json.h"

enum { MANIFEST_FILES_MAX = 1 << 16, MANIFEST_PATH_MAX = 512, MANIFEST_DEPTH_MAX = 16 };

/* A signing key pair in a folder: `sign.key` (0600, 64 bytes base64) and `sign.pub`. Made when
 * absent; `sign.pub` is made again from `sign.key`. ERR_DENIED when others may read sign.key or
 * the two do not belong together; ERR_CONFLICT when another process is making it. */
typedef struct {
    uint8_t public_key[32], secret_key[64];
    char id[17]; /* first 16 hex digits of SHA-256 of the public key */
} SignKey;
bool signkey_open(const char *folder, SignKey *out, Error *err) MUST_CHECK;
void signkey_wipe(SignKey *key);

/* statement NULL: an empty object. ERR_INPUT for a symbolic link or a name that is not plain
 * UTF-8; nothing of the folder but the manifest and its signature is changed. */
bool manifest_sign(const char *folder, const char *name, const json_t *statement,
                   const SignKey *key, Error *err) MUST_CHECK;

typedef struct {
    uint32_t files;
    uint64_t bytes;
    char key_id[17];
} ManifestReport;
/* Verifies signature (against `sign.pub` at key_path, NULL: only the key named inside, reported)
 * and every file. Errors name the first file that differs, is missing, or was added:
 * ERR_DENIED "model.safetensors: digest differs from the signed one"; ERR_NOT_FOUND for a folder
 * that is not signed. */
bool manifest_verify(const char *folder, const char *key_path, ManifestReport *out,
                     Error *err) MUST_CHECK;
