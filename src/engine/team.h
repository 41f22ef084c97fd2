/* Jobs of a few pieces each in a parallel region (pool.h); each piece is claimed by the first free
 * thread. Used by engine/steppers.pxi and pool.c.
 *
 * The leader posts jobs and takes part; helpers stay in the region for many jobs. The leader waits
 * for claimed pieces, never for a helper that has not arrived: if the OS preempts a helper, the
 * leader does the work alone instead of losing a time slice at every barrier. */
#ifndef NNCORE_TEAM_H
#define NNCORE_TEAM_H

#include <stdint.h>
#include "tuning.h"
#if defined(__linux__) || defined(__APPLE__)
#include <sched.h>
#define NN_YIELD() sched_yield()
#else
#define NN_YIELD() ((void)0)
#endif
#if defined(__x86_64__)
#define NN_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define NN_PAUSE() __asm__ volatile("yield")
#else
#define NN_PAUSE() ((void)0)
#endif

typedef struct {
    /* job number << 32 | pieces << 16 | claimed, in one word, so that a claim is of this job */
    uint64_t state;
    char padding[56]; /* keeps `done` on another cache line */
    int64_t done;     /* finished pieces of this job */
    int closed;
} nn_team;

static inline void nn_wait(int *spins) {
    if (++*spins < TEAM_SPINS) NN_PAUSE(); else NN_YIELD();
}

static inline void nn_team_open(nn_team *team) { *team = (nn_team){0}; }

/* Leader: post a job of fewer than 65536 pieces, after writing the data that describes it. */
static inline void nn_team_post(nn_team *team, int pieces) {
    uint64_t job = (__atomic_load_n(&team->state, __ATOMIC_RELAXED) >> 32) + 1;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&team->state, job << 32 | (uint64_t)pieces << 16, __ATOMIC_RELEASE);
}

/* Claim a piece; -1 if all are claimed. */
static inline int nn_team_claim(nn_team *team) {
    uint64_t state = __atomic_load_n(&team->state, __ATOMIC_ACQUIRE);
    while ((state & 0xffff) < (state >> 16 & 0xffff))
        if (__atomic_compare_exchange_n(&team->state, &state, state + 1, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return (int)(state & 0xffff);
    return -1;
}

static inline void nn_team_finish(nn_team *team) {
    __atomic_fetch_add(&team->done, 1, __ATOMIC_ACQ_REL);
}

/* Leader: wait until every piece is finished, after claiming returned -1. */
static inline void nn_team_join(nn_team *team, int pieces) {
    int spins = 0;
    while (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) < pieces) nn_wait(&spins);
}

/* flags |= more, from any thread. */
static inline void nn_team_flag(int *flags, int more) {
    __atomic_fetch_or(flags, more, __ATOMIC_RELAXED);
}

static inline void nn_team_close(nn_team *team) {
    __atomic_store_n(&team->closed, 1, __ATOMIC_RELEASE);
}

/* Helper: wait for a piece and claim it; -1 after the leader has closed the team. */
static inline int nn_team_next(nn_team *team) {
    int spins = 0;
    for (;;) {
        /* read before claiming, as a last job may have been posted just before closing */
        int closed = __atomic_load_n(&team->closed, __ATOMIC_ACQUIRE);
        int piece = nn_team_claim(team);
        if (piece >= 0) return piece;
        if (closed) return -1;
        nn_wait(&spins);
    }
}

#endif
