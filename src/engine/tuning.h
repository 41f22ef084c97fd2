/* Every tuning constant of the core, with its measurement. Included by the C kernels and, through
 * tuning.pxi, by the engine, so that two places that must agree read the same name. Unless a
 * comment says otherwise the machine was an AMD EPYC (Zen 4, AVX-512, 2 cores); sizes like
 * 784-128-10 are layer widths. */
#ifndef NNCORE_TUNING_H
#define NNCORE_TUNING_H

/* ---------------------------------------------------------------------------- weights in memory */

/* Weights of at least this size are updated in place instead of on packed copies. Single-sample SGD
 * gains more from the copies' alignment, so it switches at four times the size (784-2048-10,
 * 2000-3000-500-10, 1024-4096-4096-1000). */
enum { IN_PLACE_BYTES = 1 << 22, IN_PLACE_BYTES_SGD = 4 * IN_PLACE_BYTES };

/* A bound below these cannot overflow its type by the rounding of one more step. */
#define FLOAT_LIMIT 8e37
#define DOUBLE_LIMIT 4e307

/* ----------------------------------------------------------------- chunks between signal checks */

/* Target duration of a chunk. */
#define CHUNK_SECONDS 0.04
/* Work of the first chunk, per vector lane: a few milliseconds, a tenth of a second on slow
 * processors. */
#define FIRST_CHUNK_FLOPS 5e7
/* Steps per chunk of the fused SGD kernel, a few milliseconds. Fixed, because the last bits depend
 * on where a kernel call begins. */
enum { FUSED_CHUNK = 8192 };

/* -------------------------------------------------------------------------------------- threads */

/* Minimum work per thread, so that small networks are never split. */
enum { ROWS_PER_THREAD = 8 };
#define FLOPS_PER_THREAD 1e6
/* If the OS preempts a helper thread, the region's barrier can stall for milliseconds, so smaller
 * chunks are not parallelised. */
#define FLOPS_PER_REGION 1e8
/* A second thread speeds up a mini-batch step if SPLIT_BATCH / batch + SPLIT_INPUTS * inputs /
 * weights < 1: the arithmetic saved grows as weights * batch, the traffic between the cores' caches
 * as weights + batch * inputs. Otherwise it costs up to a quarter of the speed (two cores of a
 * Xeon, Sapphire Rapids, float32 and float64). */
#define SPLIT_BATCH 40.0
#define SPLIT_INPUTS 80.0

/* ------------------------------------------------------------- fused kernels for small networks */

/* Layers of up to FUSED_VECTORS of the level's widest vectors or, at batch size 1, FUSED_WIDTH
 * outputs, with a first layer of up to FUSED_BYTES, which stays in the L1 cache. */
enum { FUSED_VECTORS = 4, FUSED_WIDTH = 64, FUSED_BYTES = 1 << 15 };
/* Numbers of the first W that a sparse matrix's sample may need there: a chunk then takes 0.1 s. */
enum { FUSED_LISTED = 1 << 16 };
/* Weights of LISTED_COPY_BYTES are not copied for a few samples of a sparse matrix, whose entries are
 * fewer than a LISTED_SHARE-th of the inputs, and whose steps fewer than that share of the outputs
 * (10000-32-2, 100 entries each: 8 steps take as long as copying). */
enum { LISTED_COPY_BYTES = 1 << 17, LISTED_SHARE = 4 };
/* Samples converted or gathered at a time if the data cannot be read in place. */
enum { FUSED_BLOCK = 128 };
/* Samples whose addresses the fused mini-batch kernels hold at a time. */
enum { FUSED_SLICE = 64 };
/* Samples of a batch from which on turning W costs less than updating its transpose, too. */
enum { FUSED_TURN_BATCH = 8 };

/* Samples as columns, COLUMN_SLICE at a time: up to COLUMN_LAYERS layers, columns of COLUMN_BYTES,
 * batches from COLUMN_BATCH on. Against vectors along the outputs, an operation takes COLUMN_COST of
 * the time without padding; in training the sums over a slice add COLUMN_SUMS samples' time
 * (measured with AVX-512: 0.71 of the time for 16-16-16-16 at batch 128, 0.92 for 64-32-10, 1.3 at
 * batch 48; 0.54 for 8-16-16-2 at 256, 0.76 at 32; 0.6 for 2-3-3-2 at 16; 1.2 for 100-64-10 at 128,
 * whose columns exceed the L1 cache). In prediction columns must gain by COLUMN_PREDICTION_COST, as
 * inputs and outputs are transposed (0.13 for 2-3-3-2, 1.4 for 64-32-10). */
enum { COLUMN_SLICE = 128, COLUMN_BATCH = 16, COLUMN_LAYERS = 16, COLUMN_BYTES = 72 << 10 };
#define COLUMN_COST 0.6
#define COLUMN_SUMS 43.0
#define COLUMN_PREDICTION_COST 1.5
/* A larger step is faster by several threads, which columns do not use. */
#define COLUMN_FLOPS 8e6

/* ------------------------------------------------------ the lookahead path of single-sample SGD */

/* Steps that share a pass over W: with more, the Gram products cost more than the saved memory
 * traffic. */
enum { LOOKAHEAD_STEPS = 8 };
/* Vectors per strip of that pass: LOOKAHEAD_STEPS sums for each stay in registers. */
enum { LOOKAHEAD_VECTORS = 2 };
/* The pass over a W of more than LOOKAHEAD_CACHED bytes goes LOOKAHEAD_ROWS rows at a time, so that
 * each page is used up while its address is at hand (6000 x 6000, float32: 0.2 of the time without);
 * a quarter as many where rows are multiples of LOOKAHEAD_SETS bytes apart, which share the sets of
 * a cache (4096 x 4096: 0.72). */
enum { LOOKAHEAD_CACHED = 1 << 19, LOOKAHEAD_ROWS = 64, LOOKAHEAD_SETS = 1 << 14 };
/* A shorter block at the end of a call is slower than its steps one by one. */
enum { LOOKAHEAD_MIN_STEPS = 4 };
/* A block reads and writes the first W once and the others in each step. Where that is more than
 * this many bytes of weights, it would delay signals by more than 100 ms. */
enum { LOOKAHEAD_BYTES = 1 << 29 };

/* ----------------------------------------------------------------------- zeros among the inputs */

/* Single-sample SGD: a sample is read through the index of its non-zeros up to NONZERO_DENSITY; up
 * to LOOKAHEAD_DENSITY this is faster than a lookahead block (784-128-10). */
#define NONZERO_DENSITY 0.6
#define LOOKAHEAD_DENSITY 0.25
/* The fused SGD kernel: dense and indexed input take equal time at density 0.5 with AVX-512, which
 * can compress vectors, and at 0.25 to 0.4 without (64-32-10, 64-10). Below FUSED_NONZERO_INPUTS
 * inputs the index never pays (16-4-3). */
#define FUSED_DENSITY 0.25
#define FUSED_DENSITY_COMPRESS 0.4
enum { FUSED_NONZERO_INPUTS = 32 };
/* Batches: CSR pays up to CSR_DENSITY for layers of 8 vectors or more, and up to proportionally
 * less for narrower ones (equal time at 0.5 to 0.6 with 784-256, 0.4 with 784-100, 0.25 with
 * 97-40), for at least CSR_BATCH samples and at most CSR_CAPACITY entries. The density is estimated
 * from up to CSR_PROBES samples. */
#define CSR_DENSITY 0.35
enum { CSR_BATCH = 16, CSR_CAPACITY = 1 << 22, CSR_PROBES = 64 };
/* SpMM takes B in blocks of SPMM_BLOCK_BYTES, which stay in the L1 cache, in strips of SPMM_VECTORS
 * vectors. */
enum { SPMM_BLOCK_BYTES = 1 << 15, SPMM_VECTORS = 8 };

/* --------------------------------------------------------------------------------------- layers */

/* Layers of up to this many vectors hold W transposed at batch size 1: no horizontal sums in the
 * backward pass, no half-empty vectors (time per step 0.96 for dense 784-128-10, 0.9 on MNIST, 0.92
 * for 20-200-200-3; up to 1.4 for wider layers). */
enum { TRANSPOSED_VECTORS = 3 };
/* A block of gradient rows of this size stays in the cache until the optimizer has used it. */
enum { GRADIENT_BYTES = 1 << 16 };

/* ----------------------------------------------------------------------------------------- data */

/* A strided sample costs one cache miss per feature. Transposing all N columns costs about as much
 * as reading N / TRANSPOSE_SHARE of them one by one (784 x 10 000, float32 and float64). */
enum { TRANSPOSE_SHARE = 4 };
/* `fit` copies up to COPY_BYTES of X and Y whole, indices of the samples included: MNIST's 60 000
 * float32 images are 180 MiB. More is copied by windows of about WINDOW_BYTES, in which each column
 * is read in ascending order of the samples, COPY_FEATURES at a time. */
enum { COPY_BYTES = 184 << 20, WINDOW_BYTES = 1 << 25, COPY_FEATURES = 16 };
/* Bytes of int64 indices per sample: all samples, those of an epoch, those held out. */
enum { INDEX_BYTES = 24 };
/* Samples per block of prediction. */
enum { PREDICT_BLOCK = 128 };
/* The product of a sparse sample prefetches rows of a W that reaches beyond this, so many terms ahead. */
enum { GEMV_FAR_BYTES = 1 << 20, GEMV_AHEAD = 8 };
/* nncore.sklearn: calls on up to this many samples do not copy the weights to padded rows. */
enum { SHORT_CALL = 8 };
/* A predictor of a small network takes up to this many samples one by one instead of as a batch. */
enum { PREDICT_SINGLES = 16 };

/* Added to the norm of a gradient before dividing by it, as PyTorch does. */
#define CLIP_EPS 1e-6

/* Reasons recorded in a plan. */
enum { MAX_REASONS = 8 };

/* ------------------------------------------------------------------------------ matrix products */

/* Blocks of B of up to GEMM_BLOCK_BYTES stay in the L2 cache. They have at most as many rows as
 * GEMM_DEPTH_BYTES hold numbers, so that a panel of A stays in the L1 cache. */
enum { GEMM_DEPTH_BYTES = 2048, GEMM_BLOCK_BYTES = 1 << 19 };
/* A predictor packs the W of a layer of this size for its products: smaller ones stay in the L2
 * cache, where the tiles read them as fast in place. */
enum { PANELS_BYTES = 1 << 20 };
/* Rows of A that pass by a panel of B, which should stay in the L2 cache meanwhile. */
enum { GEMM_ROWS_BYTES = 1 << 18 };
/* Panels of B are copied if three tiles of rows use them; if two do, only of a B of GEMM_FAR_BYTES,
 * which is not in the L2 cache (Intel Xeon, Emerald Rapids, as are the next ones: time 0.85 for
 * 16 x 1024 x 1024, 1.2 for 16 x 256 x 1000). Tiles that
 * go row by row need a copy if the rows of B are GEMM_FAR_ROW bytes apart. */
enum { GEMM_FAR_ROW = 4096, GEMM_FAR_BYTES = 1 << 21 };
/* More tiles than this go row by row if B is transposed, or if the sums are so short that the traffic
 * is that of C (128 x 64 x 5000: panel by panel takes 1.06 of the time). */
enum { GEMM_PANEL_TILES = 8, GEMM_SHORT_SUM = 128 };
/* Rows of B between one that is read and one that is prefetched. */
enum { GEMM_AHEAD = 8 };
/* A panel of A with contiguous columns is read in place up to this span, else packed. */
enum { GEMM_NEAR_BYTES = 1 << 14 };
/* A larger C is in memory when it is updated, so the tiles prefetch it. */
enum { GEMM_PREFETCH_BYTES = 1 << 20 };

/* -------------------------------------------------------------------------------------- softmax */

/* Rows of at least SOFTMAX_LONG_BYTES of logits are taken in blocks, SOFTMAX_ROW_BLOCKS at most. */
enum { SOFTMAX_LONG_BYTES = 6144, SOFTMAX_ROW_BLOCKS = 128 };
/* More logits than this are in memory, so the kernel prefetches the next rows. */
enum { SOFTMAX_PREFETCH_BYTES = 1 << 22 };
/* Up to this size three rows overlap, above two, as the arrays of three exceed the L2 cache. */
enum { SOFTMAX_OVERLAP_BYTES = 1 << 17 };
/* Vectors per group of a stage: enough sums to hide the latency of an addition. */
enum { SOFTMAX_GROUP = 4 };
/* Vectors of contiguous samples that are processed together: neighbouring cache lines of each class
 * are read together. */
enum { SOFTMAX_COLUMN_VECTORS = 64 };
/* Terms summed before their sum enters a compensated total. */
enum { SUM_GROUP = 8 };

/* ------------------------------------------------------------------------------ memory, threads */

/* The last POOLED_BUFFERS released buffers of these sizes are reused by the next network. */
enum { POOLED_BUFFERS = 2, POOLED_MIN_BYTES = 1 << 16, POOLED_MAX_BYTES = 1 << 22 };
/* Buffers from half of this on ask for the processor's large pages (Xeon: products of 4 to 16 rows
 * with 8 MiB of weights take 0.93 of the time). */
enum { HUGE_PAGE_BYTES = 1 << 21 };
/* A waiting thread polls this often before it yields its processor: some 50 us. */
enum { TEAM_SPINS = 2000 };

/* -------------------------------------------------------------------------- the Python package */

/* `sgd` of at most this many steps takes less time module by module than with a compiled
 * network. */
enum { MIN_COMPILED_STEPS = 3 };
/* Labels that a repeated call checks itself; more of them are checked by NumPy, which is then
 * faster. */
enum { LABELS_AT_ONCE = 4096 };
/* Samples per slice of `evaluate`, which bounds its memory. */
enum { EVALUATE_SLICE = 1024 };
/* `fit` keeps an engine for its next call up to this size, as there may be none. */
enum { FIT_KEPT_BYTES = 1 << 20 };
/* Predictions keep theirs up to this size, without the packed weights if they are not used. */
enum { PREDICT_KEPT_BYTES = 1 << 22 };

/* ---------------------------------------------------------------------------- static assertions */

_Static_assert(FUSED_VECTORS == 4, "fused kernels are expanded for 1 to 4 vectors per layer");
_Static_assert((int)FUSED_CHUNK % (int)FUSED_BLOCK == 0, "chunks of fused steps are whole blocks");
_Static_assert((int)FUSED_SLICE <= (int)FUSED_BLOCK, "a block holds at least one slice");
_Static_assert(COLUMN_SLICE % 16 == 0, "slices are whole vectors");
_Static_assert(LOOKAHEAD_STEPS % 4 == 0, "the Gram kernel takes four samples at a time");
_Static_assert((int)LOOKAHEAD_MIN_STEPS <= (int)LOOKAHEAD_STEPS, "whole blocks must qualify");
_Static_assert((POOLED_MIN_BYTES & 63) == 0, "buffers begin at cache lines");
_Static_assert(SOFTMAX_GROUP == 4, "softmax.h adds up four chains");

/* --------------------------------------------------------------------- the boundary with Python */

/* Below these numbers of elements, and of multiplications of a product, work takes less time than
 * releasing the GIL. */
enum { GIL_ELEMENTS = 1024, GIL_PRODUCT = 1 << 14 };
/* Copying this many elements takes less than a millisecond in any layout. While another thread runs
 * Python code, each release of the GIL costs up to 5 ms, so shorter copies of a training hold
 * it. */
enum { GIL_COPY = 1 << 16 };

/* Up to this many multiplications, half a millisecond, a prediction reads the weights where they are
 * and holds the GIL, so that no training writes them meanwhile. */
enum { GIL_PREDICTION = 1 << 24 };

#endif
