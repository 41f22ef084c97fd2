/* Zeroed buffers. Fresh pages from the system cost a short training several per cent, so the last
 * two buffers of POOLED_LEAST to POOLED_MOST bytes are kept for the next one. Call with the GIL
 * held. */
#ifndef NNCORE_BUFFER_POOL_H
#define NNCORE_BUFFER_POOL_H
#include <stdlib.h>
#include <string.h>
#include "tuning.h"


/* Under AddressSanitizer the pieces of a buffer are separated by poisoned memory. */
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

static nn_buffer nn_buffer_pool[POOLED];

/* A zeroed buffer of at least this many bytes; memory is NULL if there is none. */
static nn_buffer nn_buffer_acquire(size_t bytes) {
    for (int i = 0; i < POOLED; i++)
        if (nn_buffer_pool[i].memory && nn_buffer_pool[i].bytes >= bytes &&
            nn_buffer_pool[i].bytes / 4 <= bytes) {
            nn_buffer block = nn_buffer_pool[i];
            nn_buffer_pool[i] = (nn_buffer){NULL, 0};
            memset(block.memory, 0, bytes);
            return block;
        }
    char *memory = calloc(bytes, 1);
    return (nn_buffer){memory, memory ? bytes : 0};
}

/* Give a buffer back; its memory may be NULL. It takes an empty place in the pool or that of a
 * smaller buffer. */
static void nn_buffer_release(nn_buffer block) {
#if !defined(__SANITIZE_ADDRESS__) /* which finds what is written beyond a block's end only where \
                                      the block is new */
    if (block.bytes >= POOLED_LEAST && block.bytes <= POOLED_MOST)
        for (int i = 0; i < POOLED && block.memory; i++)
            if (nn_buffer_pool[i].bytes < block.bytes) { /* an empty place has 0 */
                nn_buffer other = nn_buffer_pool[i];
                nn_buffer_pool[i] = block;
                block = other;
            }
#endif
    free(block.memory);
}
#endif
