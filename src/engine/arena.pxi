# Memory of the engine: one buffer per purpose, laid out by two passes of the same function. The
# first pass counts, the second allocates, each allocation on its own cache lines and followed by a
# redzone under AddressSanitizer. Called by network.pxi, fused.pxi, optimizer.pxi and Program.

cdef struct Arena:
    char *base             # NULL in the counting pass
    Py_ssize_t used


ctypedef void (*LayoutFunction)(Engine *, Arena *) noexcept


cdef char *arena_alloc(Arena *arena, Py_ssize_t bytes_) noexcept:
    """Allocate from the buffer; NULL in the counting pass."""
    cdef Py_ssize_t offset = arena.used
    arena.used += (bytes_ + 63) // 64 * 64 + NN_REDZONE
    if arena.base == NULL:
        return NULL
    nn_redzone(arena.base + offset + bytes_, arena.used - offset - bytes_)
    return arena.base + offset


cdef void buffer_release(nn_buffer buffer) noexcept:
    """Release a buffer; one too large for the pool is freed without the GIL (400 MB of small pages:
    0.1 s)."""
    if buffer.bytes <= POOLED_MAX_BYTES:
        nn_buffer_release(buffer)
        return
    with nogil:
        free(buffer.memory)


cdef int arena_fill(Engine *e, LayoutFunction layout, nn_buffer *buffer) except -1:
    """Replace a buffer by a zeroed one with the allocations of `layout`."""
    cdef Arena arena
    buffer_release(buffer[0])
    buffer.memory, buffer.bytes = NULL, 0
    arena.base, arena.used = NULL, 0
    layout(e, &arena)
    buffer[0] = nn_buffer_acquire(arena.used)
    if buffer.memory == NULL:
        raise MemoryError(f"to run this network takes {arena.used} bytes, which are not available")
    arena.base, arena.used = nn_buffer_start(buffer[0]), 0
    layout(e, &arena)
    return 0
