/* hash.c: see hash.h. */
#include "base/hash.h"

#include "base/fs.h"

#include <openssl/evp.h>

bool sha256_new(Sha256 **out, Error *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return fail(err, ERR_MEMORY, "sha256: libcrypto cannot start a digest");
    }
    *out = (Sha256 *)context;
    return true;
}

bool sha256_add(Sha256 *hash, const void *bytes, size_t size, Error *err)
{
    if (EVP_DigestUpdate((EVP_MD_CTX *)hash, bytes, size) != 1)
        return fail(err, ERR_INTERNAL, "sha256: libcrypto refused %zu bytes", size);
    return true;
}

bool sha256_end(Sha256 *hash, uint8_t digest[SHA256_BYTES], Error *err)
{
    if (EVP_DigestFinal_ex((EVP_MD_CTX *)hash, digest, NULL) != 1)
        return fail(err, ERR_INTERNAL, "sha256: libcrypto cannot finish a digest");
    return true;
}

void sha256_free(Sha256 *hash)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)hash);
}

bool sha256_bytes(const void *bytes, size_t size, uint8_t digest[SHA256_BYTES], Error *err)
{
    if (EVP_Digest(bytes, size, digest, NULL, EVP_sha256(), NULL) != 1)
        return fail(err, ERR_MEMORY, "sha256: libcrypto cannot digest %zu bytes", size);
    return true;
}

bool sha256_file(const char *path, uint8_t digest[SHA256_BYTES], uint64_t *size, Error *err)
{
    FsMap map;
    if (!fs_map(path, &map, err))
        return false;
    bool ok = sha256_bytes(map.data, map.size, digest, err);
    if (ok && size)
        *size = map.size;
    fs_unmap(&map);
    return ok;
}

void sha256_hex(const uint8_t digest[SHA256_BYTES], char hex[SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * SHA256_BYTES] = 0;
}

uint64_t hash_fnv(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}
