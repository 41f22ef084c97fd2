/* Preloaded into a child process by test_memory.py: from fail_from(k) on, the k-th allocation that
 * nncore's compiled core asks for, itself or through the C interfaces of Python and NumPy, fails;
 * with `times`, that many in a row. Allocations of Python code in between always succeed: Python
 * 3.11 itself crashes when some of its own fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <stddef.h>
#include <string.h>

static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t), *(*real_realloc)(void *, size_t);
static char early[1 << 16];
static size_t early_used;
static const char *core, *frame;  /* addresses: the core's library, Python's evaluation loop */
static __thread int inside;
static volatile long armed, times, asked, failed;

static void start(void) {
    if (inside) return;
    inside = 1;
    real_calloc = dlsym(RTLD_NEXT, "calloc");
    real_realloc = dlsym(RTLD_NEXT, "realloc");
    real_malloc = dlsym(RTLD_NEXT, "malloc");
    inside = 0;
}

static void *early_memory(size_t n) {
    void *p = early + early_used;
    early_used += (n + 63) & ~(size_t)63;
    return early_used <= sizeof early ? p : NULL;
}

static int of_core(void) {
    void *frames[60];
    Dl_info info;
    int found = 0;
    inside = 1;
    int n = backtrace(frames, 60);
    for (int i = 0; i < n && !found; i++) {
        if (!dladdr(frames[i], &info)) continue;
        if (info.dli_saddr == frame) break;
        found = info.dli_fbase == core;
    }
    inside = 0;
    return found;
}

static int fails(void) {
    if (!armed || inside || asked + 1 - armed >= times || !of_core()) return 0;
    if (++asked < armed) return 0;
    failed++;
    errno = ENOMEM;
    return 1;
}

void fail_from(long k, long in_a_row, const void *of_the_core, const void *of_the_loop) {
    Dl_info info;
    dladdr(of_the_core, &info);
    core = info.dli_fbase;
    dladdr(of_the_loop, &info);
    frame = info.dli_saddr;
    asked = failed = 0;
    times = in_a_row;
    armed = k;
}

long stop_failing(void) {
    armed = 0;
    return failed;
}

long allocations(void) { return asked; }

void *malloc(size_t n) {
    if (!real_malloc) start();
    if (!real_malloc) return early_memory(n);
    return fails() ? NULL : real_malloc(n);
}

void *calloc(size_t a, size_t b) {
    if (!real_malloc) start();
    if (!real_malloc) return early_memory(a * b);
    return fails() ? NULL : real_calloc(a, b);
}

void *realloc(void *p, size_t n) {
    if (!real_malloc) start();
    if ((char *)p >= early && (char *)p < early + sizeof early) {
        void *q = real_malloc(n);
        return q ? memcpy(q, p, n < 4096 ? n : 4096) : q;
    }
    return fails() ? NULL : real_realloc(p, n);
}

void free(void *p) {
    static void (*real_free)(void *);
    if (!real_free) real_free = dlsym(RTLD_NEXT, "free");
    if (!((char *)p >= early && (char *)p < early + sizeof early)) real_free(p);
}
