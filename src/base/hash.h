/* hash.h: SHA-256 (libcrypto), of bytes, of files, and in pieces. */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

typedef struct Sha256 Sha256;
bool sha256_new(Sha256 **out, Error *err) MUST_CHECK;
bool sha256_add(Sha256 *hash, const void *bytes, size_t size, Error *err) MUST_CHECK;
bool sha256_end(Sha256 *hash, uint8_t digest[SHA256_BYTES], Error *err) MUST_CHECK;
void sha256_free(Sha256 *hash); /* NULL is a no-op */

bool sha256_bytes(const void *bytes, size_t size, uint8_t digest[SHA256_BYTES],
                  Error *err) MUST_CHECK;
bool sha256_file(const char *path, uint8_t digest[SHA256_BYTES], uint64_t *size,
                 Error *err) MUST_CHECK; /* size may be NULL */
void sha256_hex(const uint8_t digest[SHA256_BYTES], char hex[SHA256_HEX]);

/* 64-bit FNV-1a: for splits and tables, never for security. */
uint64_t hash_fnv(const void *bytes, size_t size);
