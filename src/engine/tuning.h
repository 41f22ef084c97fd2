/* Every threshold of the engine, each with the measurement behind it. Included by the C kernels
 * and, through tuning.pxd, by the engine, so that two places that must agree read the same name.
 * Unless a comment says otherwise the machine was an AMD EPYC (Zen 4, AVX-512, 2 cores); sizes like
 * 784-128-10 are layer widths. */
#ifndef NNCORE_TUNING_H
#define NNCORE_TUNING_H

/* --------------------------------------------------------------------------- where weights live */

/* Weights of at least this many bytes are updated in the user's memory instead of on packed copies.
 * Single-sample SGD gains more from the copies' alignment, so it switches at four times as many
 * bytes (784-2048-10, 2000-3000-500-10, 1024-4096-4096-1000). */
enum { IN_PLACE_BYTES = 1 << 22, IN_PLACE_BYTES_SGD = 4 * IN_PLACE_BYTES };

/* A weight bound below these cannot overflow its type in one more step's rounding. */
#define FLOAT_LIMIT 8e37
#define DOUBLE_LIMIT 4e307

/* ----------------------------------------------------------------- chunks between signal checks */

#define CHUNK_SECONDS 0.04
/* Per vector lane: a first chunk of a few milliseconds, a tenth of a second on slow processors. */
#define FIRST_FLOPS 5e7
/* The fused kernels' steps per chunk. Fixed, because the place of a call's first step shows in the
 * last bits; a few milliseconds. */
enum { FUSED_CHUNK = 8192 };

/* -------------------------------------------------------------------------------------- threads */

/* The least work per thread, so that small networks are never split. */
enum { ROWS_PER_THREAD = 8 };
#define FLOPS_PER_THREAD 1e6
/* If the OS preempts a helper thread, the region's barrier can stall for milliseconds, so smaller
 * chunks are not parallelised. */
#define FLOPS_PER_REGION 1e8
/* A second thread gains on a mini-batch step if SPLIT_BATCH / batch + SPLIT_INPUTS * inputs /
 * weights < 1: arithmetic saved grows as weights * batch, traffic between the cores' caches as
 * weights + batch * inputs. Beyond, it cost up to a quarter of the speed (two cores of a Xeon,
 * Sapphire Rapids, float32 and float64). */
#define SPLIT_BATCH 40.0
#define SPLIT_INPUTS 80.0

/* ------------------------------------------------------------- fused kernels for small networks */

/* Layers of up to this many of the level's widest vectors, with a first layer that stays in the L1
 * cache. */
enum { FUSED_VECTORS = 4, FUSED_BYTES = 1 << 15 };
/* Samples converted or gathered at a time where the data cannot be read in place. */
enum { FUSED_BLOCK = 128 };
/* Samples whose addresses the fused mini-batch kernels hold at a time. */
enum { FUSED_SLICE = 64 };

/* ------------------------------------------------------ the lookahead path of single-sample SGD */

/* Steps that share a pass over W: more would save less memory traffic than their Gram products
 * cost. */
enum { LOOKAHEAD_STEPS = 8 };
/* A shorter block at the end of a call takes longer than its steps one by one. */
enum { LOOKAHEAD_LEAST = 4 };
/* Above this many weights a block takes so long that signals would wait for it. */
enum { LOOKAHEAD_WEIGHTS = 1 << 23 };

/* ----------------------------------------------------------------------- zeros among the inputs */

/* Single-sample SGD: a sample is read through the index of its non-zeros up to this density; a
 * lookahead block is abandoned for that below this one (784-128-10). */
#define NONZERO_DENSITY 0.6
#define LOOKAHEAD_DENSITY 0.25
/* The fused kernel: the two ways take equal time at density 0.5 with AVX-512, which can compress
 * vectors, and at 0.25 to 0.4 without (64-32-10, 64-10). Below FUSED_NONZERO_INPUTS inputs the
 * index never pays (16-4-3). */
#define FUSED_DENSITY 0.25
#define FUSED_DENSITY_COMPRESS 0.4
enum { FUSED_NONZERO_INPUTS = 32 };
/* Batches: CSR pays up to this density for layers of 8 vectors and more, in proportion for narrower
 * ones (equal time at 0.5 to 0.6 with 784-256, 0.4 with 784-100, 0.25 with 97-40), from CSR_BATCH
 * samples on, while the index fits CSR_CAPACITY entries. */
#define CSR_DENSITY 0.35
enum { CSR_BATCH = 16, CSR_CAPACITY = 1 << 22, CSR_PROBES = 64 };

/* --------------------------------------------------------------------------------------- layers */

/* Layers of up to this many vectors hold W transposed at batch size 1: no horizontal sums in the
 * backward pass, no half-empty vectors (784-128-10 takes 0.96 of the time dense, 0.9 on MNIST,
 * 20-200-200-3 0.92; wider layers take up to 1.4). */
enum { TRANSPOSED_VECTORS = 3 };
/* A block of gradient rows stays in the cache until the optimizer has used it. */
enum { GRADIENT_BYTES = 1 << 16 };

/* ----------------------------------------------------------------------------------------- data */

/* A strided sample costs one cache miss per feature; transposing all N columns costs about as much
 * as reading N / TRANSPOSE_SHARE of them one by one (784 x 10 000, float32 and float64). */
enum { TRANSPOSE_SHARE = 4 };
/* Samples that pass through the layers together in prediction. */
enum { PREDICT_BLOCK = 128 };
/* A predictor of a small network takes up to this many samples one by one rather than by matrix
 * products. */
enum { PREDICT_SINGLES = 16 };

/* Reasons that a plan remembers. */
enum { MAX_REASONS = 8 };

/* ------------------------------------------------------------------------------ matrix products */

/* Blocks of B of up to GEMM_BLOCK_BYTES stay in the L2 cache; their rows are as many numbers as
 * GEMM_DEPTH_BYTES hold, so that a panel of A stays in the L1 cache. */
enum { GEMM_DEPTH_BYTES = 2048, GEMM_BLOCK_BYTES = 1 << 19 };
/* What a panel of A takes of its columns is read in place up to this distance, else packed. */
enum { GEMM_NEAR_BYTES = 1 << 14 };
/* An update of more than this finds its C in memory, and its tiles prefetch it. */
enum { GEMM_FAR_BYTES = 1 << 20 };

/* -------------------------------------------------------------------------------------- softmax */

/* Rows of at least this many bytes of logits go by blocks; a row has at most so many. */
enum { SOFTMAX_LONG_BYTES = 6144, SOFTMAX_ROW_BLOCKS = 128 };
/* Vectors that a stage takes at once: enough sums to hide the latency of an addition. */
enum { SOFTMAX_GROUP = 4 };
/* Vectors of contiguous samples side by side: neighbouring cache lines of each class are read
 * together. */
enum { SOFTMAX_SIDE_VECTORS = 64 };
/* Terms added up before their sum joins a compensated total. */
enum { SUM_GROUP = 8 };

/* ------------------------------------------------------------------------------ memory, threads */

/* The last POOLED buffers of these sizes are kept for the next network. */
enum { POOLED = 2, POOLED_LEAST = 1 << 16, POOLED_MOST = 1 << 22 };
/* A waiting thread looks so often before it offers its processor to others: some 50 us. */
enum { TEAM_SPINS = 2000 };

/* -------------------------------------------------------------------------- the Python package */

/* `sgd` of at most this many steps takes less time module by module than compiling a network. */
enum { MIN_COMPILED_STEPS = 3 };
/* Samples evaluated at a time, which bounds the memory of `evaluate`. */
enum { EVALUATE_SLICE = 1024 };
/* `fit`, which may have been called for the last time, keeps an engine up to this size. */
enum { FIT_KEPT_BYTES = 1 << 20 };

/* --------------------------------------------------------------------------- what must agree */

_Static_assert(FUSED_VECTORS == 4, "fused kernels are expanded for 1 to 4 vectors per layer");
_Static_assert((int)FUSED_CHUNK % (int)FUSED_BLOCK == 0, "chunks of fused steps are whole blocks");
_Static_assert((int)FUSED_SLICE <= (int)FUSED_BLOCK, "the engine's block holds a slice of the kernels");
_Static_assert(LOOKAHEAD_STEPS % 4 == 0, "Gram products are taken four samples at a time");
_Static_assert((int)LOOKAHEAD_LEAST <= (int)LOOKAHEAD_STEPS, "a block has no more steps than there are");
_Static_assert((POOLED_LEAST & 63) == 0, "buffers begin at cache lines");
_Static_assert(SOFTMAX_GROUP == 4, "softmax.h adds four chains");

/* --------------------------------------------------------------------- the boundary with Python */

/* Work below these sizes takes less time than releasing the interpreter lock: elements, and
 * multiplications of a product. */
enum { GIL_ELEMENTS = 1024, GIL_PRODUCT = 1 << 14 };
/* Elements whose copy takes less than a millisecond in any layout. Next to a thread that computes
 * in Python, each release of the lock costs up to 5 ms, so what a training copies at every chunk is
 * kept under the lock when it is short. */
enum { GIL_COPY = 1 << 16 };

#endif
