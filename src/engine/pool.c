/* The pool of helper threads of pool.h, on POSIX threads or Windows threads. Linked into the core;
 * called by engine/steppers.pxi, python/program.pxi and python/linear.pxi. */
#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#include <time.h>
#endif
#include "pool.h"
#include "team.h"

/* Kernels use up to 100 KiB (tiles in gemm.h and spmm.h), sanitizers several times as much. */
enum { NN_STACK = 1 << 20 };
static const double RETRY_SECONDS = 1; /* after the system refused a thread */

/* ------------------------------------------------------------------------ threads of the system */

#if defined(_WIN32)

typedef SRWLOCK nn_mutex;
typedef CONDITION_VARIABLE nn_condition;
#define NN_MUTEX SRWLOCK_INIT
#define NN_CONDITION CONDITION_VARIABLE_INIT

static void nn_lock(nn_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static void nn_unlock(nn_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }
static void nn_condition_wait(nn_condition *condition, nn_mutex *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}
static void nn_condition_signal(nn_condition *condition) { WakeConditionVariable(condition); }

double nn_seconds(void) {
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    return (double)ticks.QuadPart / (double)per_second.QuadPart;
}

static void serve(void);
static DWORD WINAPI run_thread(LPVOID unused) {
    (void)unused;
    serve();
    return 0;
}

static int nn_thread_create(void) {
    DWORD reserved = STACK_SIZE_PARAM_IS_A_RESERVATION;
    HANDLE thread = CreateThread(NULL, NN_STACK, run_thread, NULL, reserved, NULL);
    if (thread) CloseHandle(thread);
    return thread != NULL;
}

#else

typedef pthread_mutex_t nn_mutex;
typedef pthread_cond_t nn_condition;
#define NN_MUTEX PTHREAD_MUTEX_INITIALIZER
#define NN_CONDITION PTHREAD_COND_INITIALIZER

static void nn_lock(nn_mutex *mutex) { pthread_mutex_lock(mutex); }
static void nn_unlock(nn_mutex *mutex) { pthread_mutex_unlock(mutex); }
static void nn_condition_wait(nn_condition *condition, nn_mutex *mutex) {
    pthread_cond_wait(condition, mutex);
}
static void nn_condition_signal(nn_condition *condition) { pthread_cond_signal(condition); }

double nn_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void serve(void);
static void *run_thread(void *unused) {
    (void)unused;
    serve();
    return NULL;
}

/* Start a detached thread with a stack of NN_STACK bytes, independent of ulimit and OMP_STACKSIZE.
 * It blocks all signals, so that Python's handlers run in Python's threads, except those raised by
 * its own faults, which faulthandler and sanitizers must be able to report. */
static int nn_thread_create(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t blocked, before;
    if (pthread_attr_init(&attributes)) return 0;
    pthread_attr_setstacksize(&attributes, NN_STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failed = pthread_create(&thread, &attributes, run_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}

#endif

/* Rounding mode and flushing of subnormals are per thread and affect the bits, so helpers adopt the
 * leader's. */
#if defined(__x86_64__)
typedef uint32_t float_mode;
static float_mode get_float_mode(void) { return __builtin_ia32_stmxcsr(); }
static void set_float_mode(float_mode mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
typedef uint64_t float_mode;
static float_mode get_float_mode(void) {
    float_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static void set_float_mode(float_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
typedef int float_mode;
static float_mode get_float_mode(void) { return 0; }
static void set_float_mode(float_mode mode) { (void)mode; }
#endif

/* ------------------------------------------------------------------------------------- the pool */

static struct {
    /* Helpers invited << 16 | helpers entered; 0 while no region is open. A helper reads work, arg
     * and mode only between entering here and adding itself to `left`. */
    uint32_t gate;
    char padding[60]; /* keeps `left` on another cache line */
    uint32_t left;
    int busy; /* held by the leader from before opening to after closing; guards what follows */
    nn_pool_work work;
    void *arg;
    float_mode mode;
    int helpers;    /* threads created */
    double retry;   /* create no thread before this time */
    nn_mutex mutex; /* of wake, on which parked helpers wait */
    nn_condition wake;
    int parked;
} pool = {.mutex = NN_MUTEX, .wake = NN_CONDITION};

static uint64_t forks, counted;
static int only_helpers, limit;

/* Enter the open region. Return the thread's number, or 0 if no region is open or it is full. */
static int enter(void) {
    uint32_t gate = __atomic_load_n(&pool.gate, __ATOMIC_ACQUIRE);
    while ((gate & 0xffff) < gate >> 16)
        if (__atomic_compare_exchange_n(&pool.gate, &gate, gate + 1, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return (int)(gate & 0xffff) + 1;
    return 0;
}

static int can_enter(void) {
    uint32_t gate = __atomic_load_n(&pool.gate, __ATOMIC_SEQ_CST);
    return (gate & 0xffff) < gate >> 16;
}

/* No wake-up is lost: the leader opens the gate and then reads `parked`, the helper counts itself
 * as parked and then reads the gate, so at least one of them sees the other. */
static void park(void) {
    nn_lock(&pool.mutex);
    __atomic_fetch_add(&pool.parked, 1, __ATOMIC_SEQ_CST);
    while (!can_enter()) nn_condition_wait(&pool.wake, &pool.mutex);
    __atomic_fetch_sub(&pool.parked, 1, __ATOMIC_SEQ_CST);
    nn_unlock(&pool.mutex);
}

static void serve(void) {
    int spins = 0;
    for (;;) {
        int thread = enter();
        if (thread) {
            set_float_mode(pool.mode);
            pool.work(pool.arg, thread);
            __atomic_fetch_add(&pool.left, 1, __ATOMIC_RELEASE);
            spins = 0;
        } else if (++spins < TEAM_SPINS) {
            NN_PAUSE();
        } else {
            park();
            spins = 0;
        }
    }
}

/* Create helpers until there are `wanted`. Return their number. */
static int create_helpers(int wanted) {
    while (pool.helpers < wanted && nn_seconds() >= pool.retry) {
        if (!nn_thread_create()) {
            pool.retry = nn_seconds() + RETRY_SECONDS;
            break;
        }
        __atomic_fetch_add(&pool.helpers, 1, __ATOMIC_RELAXED);
    }
    return pool.helpers < wanted ? pool.helpers : wanted;
}

int nn_pool_open(int threads, nn_pool_work work, void *arg) {
    int helpers = (threads < NN_POOL_MAX_THREADS ? threads : NN_POOL_MAX_THREADS) - 1, spins = 0;
    if (helpers < 1 || __atomic_exchange_n(&pool.busy, 1, __ATOMIC_ACQUIRE)) return 0;
    helpers = create_helpers(helpers);
    if (helpers == 0) {
        __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
        return 0;
    }
    pool.work = work, pool.arg = arg, pool.mode = get_float_mode();
    __atomic_store_n(&pool.left, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&pool.gate, (uint32_t)helpers << 16, __ATOMIC_SEQ_CST);
    int parked = __atomic_load_n(&pool.parked, __ATOMIC_SEQ_CST);
    if (parked) {
        /* once the lock is taken, every helper counted in `parked` waits for `wake` */
        nn_lock(&pool.mutex);
        nn_unlock(&pool.mutex);
        for (int i = 0; i < helpers && i < parked; i++) nn_condition_signal(&pool.wake);
    }
    while (!nn_pool_leader_works(helpers) && can_enter()) nn_wait(&spins);
    return helpers;
}

void nn_pool_close(int helpers) {
    if (helpers == 0) return;
    uint32_t entered = __atomic_exchange_n(&pool.gate, 0, __ATOMIC_ACQ_REL) & 0xffff;
    for (int spins = 0; __atomic_load_n(&pool.left, __ATOMIC_ACQUIRE) < entered;) nn_wait(&spins);
    __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
}

typedef struct {
    nn_team team;
    int count;
    nn_pool_piece work;
    void *arg;
} pieces;

static void help_with_pieces(void *arg, int thread) {
    pieces *p = arg;
    for (int piece; (piece = nn_team_next(&p->team)) >= 0; nn_pool_count(1))
        p->work(p->arg, piece, p->count, thread);
}

void nn_pool_pieces(int count, int threads, nn_pool_piece work, void *arg) {
    pieces p = {.work = work, .arg = arg};
    nn_team_open(&p.team);
    int helpers = nn_pool_open(threads, help_with_pieces, &p);
    p.count = count ? count : helpers + 1;
    nn_team_post(&p.team, p.count);
    for (int piece; nn_pool_leader_works(helpers) && (piece = nn_team_claim(&p.team)) >= 0;)
        work(arg, piece, p.count, 0);
    nn_team_close(&p.team);
    nn_pool_close(helpers);
}

/* ------------------------------------------------------------------------------ forks and tests */

#if !defined(_WIN32)
/* The child has only the thread that forked, which is outside any region. The helpers and a thread
 * that led a region do not exist there. */
static void after_fork(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.gate = pool.left = 0;
    pool.busy = pool.helpers = pool.parked = 0;
    pool.retry = 0;
    forks++;
}

void nn_pool_setup(void) { pthread_atfork(NULL, NULL, after_fork); }
#else
void nn_pool_setup(void) {}
#endif

uint64_t nn_pool_forks(void) { return forks; }
int nncore_pool_helpers(void) { return __atomic_load_n(&pool.helpers, __ATOMIC_RELAXED); }
void nn_pool_count(uint64_t done) { __atomic_fetch_add(&counted, done, __ATOMIC_RELAXED); }
uint64_t nn_pool_counted(void) { return __atomic_load_n(&counted, __ATOMIC_RELAXED); }
void nn_pool_only_helpers(int on) { __atomic_store_n(&only_helpers, on, __ATOMIC_RELAXED); }
int nn_pool_leader_works(int helpers) {
    return helpers == 0 || !__atomic_load_n(&only_helpers, __ATOMIC_RELAXED);
}
int nn_pool_limit(void) { return __atomic_load_n(&limit, __ATOMIC_RELAXED); }
void nn_pool_set_limit(int threads) { __atomic_store_n(&limit, threads, __ATOMIC_RELAXED); }
