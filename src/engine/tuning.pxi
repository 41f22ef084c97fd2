# The constants of tuning.h, which has their measurements, for the engine and the Python package.

cdef extern from "engine/tuning.h":
    enum:
        IN_PLACE_BYTES
        IN_PLACE_BYTES_SGD
        FUSED_CHUNK
        PANELS_BYTES
        ROWS_PER_THREAD
        FUSED_VECTORS
        FUSED_WIDTH
        FUSED_BYTES
        FUSED_BLOCK
        FUSED_LISTED
        LISTED_COPY_BYTES
        LISTED_SHARE
        FUSED_SLICE
        COLUMN_SLICE
        COLUMN_BATCH
        COLUMN_LAYERS
        COLUMN_BYTES
        LOOKAHEAD_STEPS
        LOOKAHEAD_MIN_STEPS
        LOOKAHEAD_BYTES
        FUSED_NONZERO_INPUTS
        CSR_BATCH
        CSR_CAPACITY
        CSR_PROBES
        TRANSPOSED_VECTORS
        GRADIENT_BYTES
        TRANSPOSE_SHARE
        COPY_BYTES
        WINDOW_BYTES
        COPY_FEATURES
        INDEX_BYTES
        PREDICT_BLOCK
        PREDICT_SINGLES, SHORT_CALL
        MAX_REASONS
        SOFTMAX_LONG_BYTES
        MIN_COMPILED_STEPS
        LABELS_AT_ONCE
        EVALUATE_SLICE
        FIT_KEPT_BYTES
        PREDICT_KEPT_BYTES
        GIL_ELEMENTS
        GIL_PRODUCT
        GIL_COPY
        GIL_PREDICTION
    double FLOAT_LIMIT
    double DOUBLE_LIMIT
    double CHUNK_SECONDS
    double FIRST_CHUNK_FLOPS
    double FLOPS_PER_THREAD
    double FLOPS_PER_REGION
    double SPLIT_BATCH
    double SPLIT_INPUTS
    double COLUMN_FLOPS
    double COLUMN_COST
    double COLUMN_SUMS
    double COLUMN_PREDICTION_COST
    double NONZERO_DENSITY
    double LOOKAHEAD_DENSITY
    double FUSED_DENSITY
    double FUSED_DENSITY_COMPRESS
    double CSR_DENSITY
    double CLIP_EPS

# for the Python package: nncore._core.TUNING["NAME"]
TUNING = {"MIN_COMPILED_STEPS": MIN_COMPILED_STEPS, "EVALUATE_SLICE": EVALUATE_SLICE,
          "FIT_KEPT_BYTES": FIT_KEPT_BYTES, "PREDICT_KEPT_BYTES": PREDICT_KEPT_BYTES,
          "COPY_BYTES": COPY_BYTES, "WINDOW_BYTES": WINDOW_BYTES}
