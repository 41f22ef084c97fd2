/* Zeroed buffers for arena.pxi. Fresh pages from the system cost a short training several per cent,
 * so the last POOLED_BUFFERS buffers of POOLED_MIN_BYTES to POOLED_MAX_BYTES are reused. Call with
 * the GIL held, or in a free-threaded Python; a thread that finds the pool in use does without. */
#ifndef NNCORE_BUFFER_POOL_H
#define NNCORE_BUFFER_POOL_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#include "tuning.h"
#include "turn.h"

/* AddressSanitizer: poisoned redzones separate the allocations of a buffer. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { NN_REDZONE = 64 };
static void nn_redzone(char *at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
#else
enum { NN_REDZONE = 0 };
static void nn_redzone(char *at, size_t bytes) { (void)at, (void)bytes; }
#endif

typedef struct {
    char *memory;
    size_t bytes;
} nn_buffer;

static nn_buffer nn_buffer_pool[POOLED_BUFFERS];
static int nn_buffer_pool_turn;

/* Take a buffer of at least `bytes`, and not much more, out of the pool; its memory is NULL if there
 * is none. */
static nn_buffer nn_buffer_reuse(size_t bytes) {
    nn_buffer found = {NULL, 0};
    if (!nn_take_turn(&nn_buffer_pool_turn)) return found;
    for (int i = 0; i < POOLED_BUFFERS && !found.memory; i++)
        if (nn_buffer_pool[i].memory && nn_buffer_pool[i].bytes >= bytes &&
            nn_buffer_pool[i].bytes / 4 <= bytes) {
            found = nn_buffer_pool[i];
            nn_buffer_pool[i] = (nn_buffer){NULL, 0};
        }
    nn_end_turn(&nn_buffer_pool_turn);
    return found;
}

/* What a buffer's contents are aligned to: a cache line, or a huge page if they fill half of one. */
static size_t nn_buffer_alignment(size_t bytes) {
    return bytes >= HUGE_PAGE_BYTES / 2 ? (size_t)HUGE_PAGE_BYTES : 64;
}

static char *nn_buffer_start(nn_buffer buffer) {
    const size_t alignment = nn_buffer_alignment(buffer.bytes);
    return buffer.memory + (alignment - (uintptr_t)buffer.memory % alignment) % alignment;
}

/* A buffer of at least `bytes` zeros from nn_buffer_start on; its memory is NULL if the system has
 * none. */
static nn_buffer nn_buffer_acquire(size_t bytes) {
    nn_buffer block = nn_buffer_reuse(bytes);
    if (block.memory) {
        memset(nn_buffer_start(block), 0, bytes);
        return block;
    }
    const size_t alignment = nn_buffer_alignment(bytes),
                 pages = (bytes + alignment - 1) / alignment * alignment;
    block.memory = pages < bytes ? NULL : calloc(pages + alignment, 1);
    block.bytes = block.memory ? bytes : 0;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (block.memory && alignment > 64)
        madvise(nn_buffer_start(block), pages, MADV_HUGEPAGE); /* a wish: failing changes nothing */
#endif
    return block;
}

/* Release a buffer, whose memory may be NULL: keep it in an empty slot or in that of a smaller
 * buffer, or free it. */
static void nn_buffer_release(nn_buffer block) {
#if !defined(__SANITIZE_ADDRESS__) /* detects overruns of fresh blocks only */
    if (block.bytes >= POOLED_MIN_BYTES && block.bytes <= POOLED_MAX_BYTES &&
        nn_take_turn(&nn_buffer_pool_turn)) {
        for (int i = 0; i < POOLED_BUFFERS && block.memory; i++)
            if (nn_buffer_pool[i].bytes < block.bytes) { /* 0 if empty */
                nn_buffer other = nn_buffer_pool[i];
                nn_buffer_pool[i] = block;
                block = other;
            }
        nn_end_turn(&nn_buffer_pool_turn);
    }
#endif
    free(block.memory);
}
#endif
