# The paths that run a chunk of steps, one row of STEPPERS each, in order of preference. Deleting a
# special path deletes its row and its file and leaves the general ones, with the same results to
# rounding. `accepts` (plan.pxi) returns ACCEPTED or the reason against the path. `run`, called by
# Program, returns 0 or the 1-based step that produced a non-finite value (run.status says where),
# and rolls nothing back.

cdef Stepper[8] STEPPERS
STEPPERS[FUSED_SGD] = Stepper("fused-sgd", accepts_fused_sgd, run_fused_sgd)
STEPPERS[LOOKAHEAD_SGD] = Stepper("lookahead-sgd", accepts_lookahead, run_sgd)
STEPPERS[SGD] = Stepper("sgd", accepts_sgd, run_sgd)
STEPPERS[COLUMN_MINIBATCH] = Stepper("column-minibatch", accepts_column_minibatch, run_columns)
STEPPERS[FUSED_MINIBATCH] = Stepper("fused-minibatch", accepts_fused_minibatch, run_fused_minibatch)
STEPPERS[MINIBATCH] = Stepper("minibatch", accepts_minibatch, run_minibatch)
STEPPERS[COLUMN_PREDICTION] = Stepper("column-blocks", accepts_column_prediction, NULL)
STEPPERS[PREDICTION] = Stepper("blocks", accepts_prediction, NULL)


# ------------------------------------------------------------------------------------- batch size 1

cdef Py_ssize_t run_sgd(Engine *e, Run *run) noexcept nogil:
    """Steps at batch size 1, in blocks of LOOKAHEAD_STEPS if the plan's path is lookahead-sgd. A
    chunk of fit ends at the first non-finite value."""
    cdef Py_ssize_t bad
    cdef uint64_t mode = 0
    if e.opt.active:
        mode = nn_flush_subnormals()
    bad = run_samples(e, run)
    if e.opt.active:
        nn_restore_subnormals(mode)
    e.sparse.n_nonzero, e.sparse.skips_zeros = 0, False
    e.lookahead.has_product = False
    return bad


cdef Py_ssize_t run_samples(Engine *e, Run *run) noexcept nogil:
    cdef Py_ssize_t t = 0, count, bad = 0
    cdef const char *sample
    e.lookahead.pending = e.lookahead.has_product = False
    if run.x.row_starts != NULL:
        memset(e.ws.x_rows, 0, e.net.inputs * e.net.itemsize)
    while t < run.n_samples:
        # blocks begin at multiples of their length, as chunks do, so that bits do not depend on the
        # length of chunks, which follows the clock
        count = min(<Py_ssize_t>LOOKAHEAD_STEPS, run.n_samples - t)
        if (e.plan.stepper == LOOKAHEAD_SGD and t % LOOKAHEAD_STEPS == 0
                and count >= LOOKAHEAD_MIN_STEPS and open_block(e, run, t, count)):
            bad = run_block(e, run, t, count) or bad
            t += count
        else:
            flush_update(e)
            run.offset = t
            if run.x.row_starts != NULL:
                sample = spread_sample(e, run.x, run.indices[t])
                if t + 1 < run.n_samples:
                    prefetch_rows(e, run.x, run.indices[t + 1])
            else:
                sample = read_sample(&e.net, run.x, run.indices[t], e.ws.x_rows)
                index_nonzeros(e, sample)
            if not sample_step(e, run, sample, t):
                bad = bad or t + 1
            if run.x.row_starts != NULL:
                clear_sample(e, run.x, run.indices[t])
            t += 1
        if bad and e.plan.call == CALL_FIT:
            return bad
        if bad:
            plan_demote(e, NON_FINITE)
    flush_update(e)
    return bad


cdef Py_ssize_t run_block(Engine *e, Run *run, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """The steps of an open lookahead block. Returns 0, or the first 1-based step of the chunk with
    a non-finite loss."""
    cdef Py_ssize_t i, ahead, bad = 0
    for i in range(count):
        e.lookahead.step = i
        ahead = first + i + LOOKAHEAD_STEPS
        if ahead < run.n_samples:
            prefetch_sample(run.x, run.indices[ahead])
        if not sample_step(e, run, <const char *>e.lookahead.samples[i], first + i):
            bad = bad or first + i + 1
            if e.plan.call == CALL_FIT:
                break
    e.lookahead.step = -1
    return bad


cdef bint sample_step(Engine *e, Run *run, const char *sample, Py_ssize_t t) noexcept nogil:
    """Step t of a chunk, on one sample. Returns False if its loss is non-finite or, in fit, a label
    or a result of the step is; run.status then says which."""
    cdef Batch batch
    cdef bint finite, fits = e.plan.call == CALL_FIT
    batch.first, batch.size, batch.x_stride, batch.y_stride = 0, 1, e.net.inputs, e.net.outputs
    batch.csr, batch.listed, batch.outputs, batch.gemm = False, NULL, NULL, NULL
    batch.y_index = NULL
    batch.x = sample
    batch.y = read_sample(&e.net, run.y, run.indices[t], e.ws.y_rows)
    # samples read in place are not checked if a Linear comes first, see fused_gradients
    if run.checks_data and not (e.net.k.all_finite(e.net.outputs, batch.y)
                                and (run.x.direct and e.net.layers[0].kind == LINEAR
                                     or run.x.row_starts != NULL
                                     or e.net.k.all_finite(e.net.inputs, sample))):
        run.status = BAD_DATA
        return False
    if e.labels.adjusted:
        if batch.y != e.ws.y_rows:
            memcpy(e.ws.y_rows, batch.y, e.net.outputs * e.net.itemsize)
            batch.y = e.ws.y_rows
        adjust_labels(e, e.ws.y_rows, 1, e.net.outputs, 1)
    forward(e, &batch, True)
    finite = loss_gradient(e, &batch, fits)
    if fits and not finite:
        run.status = BAD_LOSS
        return False
    if not finite:  # 0 times a non-finite gradient is NaN
        e.sparse.n_nonzero, e.sparse.skips_zeros = 0, False
    if e.objective.weights != NULL:
        weigh_samples(e, &batch, run.indices + t)
    if fits:
        nn_add(&run.total, e.ws.terms.losses[0])
    if e.opt.active:
        begin_optimizer_step(e, t, run.rates[t], 1)
        finite = add_penalty(run, single_penalty(e))
        if not (finite and backward_and_optimize(e, run, &batch, t)):
            run.status = BAD_WEIGHTS
            return False
    else:
        backward_and_update(e, &batch, run.rates[t])
    if run.checks_weights and not weights_finite(&e.net):
        run.status = BAD_WEIGHTS
        return False
    return finite


# ------------------------------------------------------------------------------------- mini-batches

cdef void begin_step(Engine *e, Run *run, Py_ssize_t first, Py_ssize_t t) noexcept nogil:
    """Set e.step to step t of a chunk, on the samples from run.indices[first] on."""
    cdef Step *step = &e.step
    cdef Batch *batch = &step.batch
    cdef Py_ssize_t i
    batch.first, batch.size = 0, min(run.batch_size, run.n_samples - first)
    batch.x, batch.x_stride = e.ws.x_rows, e.net.x_stride
    batch.y, batch.y_stride, batch.y_index = e.ws.y_rows, e.net.outputs, NULL
    batch.csr = e.plan.csr and e.sparse.skips_zeros and batch.size > 1
    batch.gemm, batch.outputs = e.ws.gemm, NULL
    step.run, step.indices, step.stores, step.updates = run, run.indices + first, False, False
    step.eta = run.rates[t] / batch.size if run.mean else run.rates[t]
    step.n_partitions = min(1 + e.helpers, max(1, <int>(batch.size // ROWS_PER_THREAD)))
    step.weight, step.accumulates = batch.size, False
    batch.listed = step.indices if run.x.row_starts != NULL else NULL
    if e.objective.weights != NULL and e.objective.weighted_mean:
        step.weight = 0
        for i in range(batch.size):
            step.weight += e.objective.weights[step.indices[i]]
    run.status, run.offset = FINITE, t


cdef Py_ssize_t run_fused_minibatch(Engine *e, Run *run) noexcept nogil:
    """Mini-batch steps of a small network, by the fused kernels."""
    cdef Py_ssize_t first = 0, t = 0
    cdef nn_fused_batch call
    open_fused_minibatch(e)
    while first < run.n_samples:
        begin_step(e, run, first, t)
        t += 1
        run.status = fused_gradients(e, &e.step, &call)
        if run.status != FINITE:
            return t
        if not add_losses(e, run):
            run.status = BAD_LOSS
            return t
        e.net.k.fused_update[e.fused.width_index](&call)
        first += e.step.batch.size
        if run.checks_weights and not weights_finite(&e.net):
            run.status = BAD_WEIGHTS
            return t
    return 0


cdef Py_ssize_t run_minibatch(Engine *e, Run *run) noexcept nogil:
    """Mini-batch steps, led by this thread; helpers join one parallel region for all steps."""
    cdef Py_ssize_t bad
    nn_team_open(&e.team)
    if not run.checks_weights and 6.0 * e.net.n_weights * run.n_samples >= FLOPS_PER_REGION:
        e.helpers = nn_pool_open(e.ws.n_threads, help_steps, <void *>e)
    bad = minibatch_steps(e, run)
    nn_team_close(&e.team)
    nn_pool_close(e.helpers)
    e.helpers = 0
    return bad


cdef Py_ssize_t minibatch_steps(Engine *e, Run *run) noexcept nogil:
    """Each step has two halves, each shared among the threads: forward, loss and backward, by rows
    of the batch; then the update of every W, by rows of W. Each element is summed by one thread in
    a fixed order, so that bits do not depend on the number of threads.

    Weights trained in place are left unchanged by a step that might make one non-finite, unless
    run.checks_weights is set.
    """
    cdef Py_ssize_t first = 0, t = 0
    cdef Step *step = &e.step
    cdef bint continues = e.objective.continues
    while first < run.n_samples:
        begin_step(e, run, first, t)
        if step.weight == 0:
            e.objective.skipped += 1
            first += step.batch.size
            t += 1
            continue
        if e.opt.active:
            begin_optimizer_step(e, t - e.objective.skipped, run.rates[t],
                                 1.0 / step.weight if run.mean else 1.0)
        t += 1
        run_partitions(e)
        if run.status != FINITE and not continues:
            return t
        if (e.plan.in_place and not run.checks_weights and not continues
                and not step_stays_finite(e, &step.batch, step.eta)):
            run.status = UNSURE
            return t
        if not add_losses(e, run) and not continues:
            run.status = BAD_LOSS
            return t
        if updates_in_one_pass(e, &step.batch):
            backward_and_update(e, &step.batch, step.eta)
        else:
            if e.opt.active and e.opt.clips:
                step.stores = True
                run_partitions(e)
                set_clip_factor(e)
                step.stores = False
            step.updates = True
            run_partitions(e)
        if e.opt.active:
            if not add_penalty(run, penalty(e) * (step.batch.size if run.mean else 1)):
                run.status |= BAD_WEIGHTS
            if run.status != FINITE and not continues:
                return t
        first += step.batch.size
        if run.checks_weights and not weights_finite(&e.net):
            run.status = BAD_WEIGHTS
            return t
    return 0


cdef Py_ssize_t gradient_steps(Engine *e, Run *run) noexcept nogil:
    """Add the gradients of all batches to the first array of the optimizer's state, whose step is
    -rate per batch, and their losses to the run's total."""
    cdef Py_ssize_t first = 0, t = 0
    cdef Step *step = &e.step
    e.opt.active = False
    while first < run.n_samples:
        begin_step(e, run, first, t)
        step.accumulates = True
        t += 1
        run_partitions(e)
        add_losses(e, run)
        swap_state(e)
        step.updates = True
        run_partitions(e)
        swap_state(e)
        first += step.batch.size
    e.opt.active = True
    return 0


cdef void swap_state(Engine *e) noexcept nogil:
    """Exchange the weights in use with the first array of the optimizer's state."""
    cdef Py_ssize_t i
    cdef Params *p
    for i in range(e.net.n_layers):
        p = &e.net.layers[i].params
        p.w, p.state[0] = p.state[0], p.w
        p.w0, p.state0[0] = p.state0[0], p.w0


cdef bint add_losses(Engine *e, Run *run) noexcept nogil:
    """Add the losses of the step's samples to the run's total; with weighted_mean, their mean times
    the batch size. Returns False if their sum overflows."""
    cdef Py_ssize_t r
    cdef double factor = e.objective.loss_factor, total = 0
    if e.objective.weights != NULL and e.objective.weighted_mean and run.mean:
        factor *= e.step.batch.size / e.step.weight
    for r in range(e.step.batch.size):
        nn_add(&run.total, factor * e.ws.terms.losses[r])
        total += e.ws.terms.losses[r]
    return isfinite(total)


# ----------------------------------------------------------------------------- partitions of a step

cdef void run_partitions(Engine *e) noexcept nogil:
    """Run one half of a step; helpers in the parallel region claim partitions of it."""
    cdef Step *step = &e.step
    cdef int partition
    if step.n_partitions == 1:
        run_partition(e, 0, 0)
        return
    nn_team_post(&e.team, step.n_partitions)
    partition = nn_team_claim(&e.team) if nn_pool_leader_works(e.helpers) else -1
    while partition >= 0:
        run_partition(e, partition, 0)
        nn_team_finish(&e.team)
        partition = nn_team_claim(&e.team)
    nn_team_join(&e.team, step.n_partitions)


cdef void help_steps(void *engine, int thread) noexcept nogil:
    """Run a helper in the parallel region until the leader closes the team."""
    cdef Engine *e = <Engine *>engine
    cdef int partition = nn_team_next(&e.team)
    while partition >= 0:
        run_partition(e, partition, thread)
        nn_team_finish(&e.team)
        nn_pool_count(1)
        partition = nn_team_next(&e.team)


cdef void run_partition(Engine *e, int partition, int thread) noexcept nogil:
    """Run one partition of the current half of the step."""
    cdef Step *step = &e.step
    cdef int status = FINITE
    if step.stores:
        store_gradients(e, &step.batch, partition, step.n_partitions, thread)
    elif not step.updates:
        status = gradients(e, partition, thread)
    elif e.opt.active and e.opt.clips:
        status = clipped_update(e, partition, step.n_partitions)
    elif e.opt.active:
        status = optimizer_update(e, &step.batch, partition, step.n_partitions, thread)
    else:
        update(e, &step.batch, step.eta, partition, step.n_partitions, thread)
    if status != FINITE:
        nn_team_flag(&step.run.status, status)


cdef bint read_labels(Engine *e, const Source *y, const int64_t *indices, Batch *batch,
                      bint checks) noexcept nogil:
    """Read the labels of a partition: in place if they are read row by row and not changed, else
    gathered. With `checks`, returns False if one is non-finite."""
    cdef Py_ssize_t size = e.net.itemsize
    cdef char *rows = e.ws.y_rows + batch.first * e.net.outputs * size
    cdef bint finite
    if y.direct and e.net.loss != NN_NLL and not (checks or e.labels.adjusted):
        batch.y, batch.y_stride, batch.y_index = y.data, y.sample_bytes // size, indices
        return True
    finite = gather(&e.net, y, indices, batch.size, rows, e.net.outputs, checks)
    adjust_labels(e, rows, batch.size, e.net.outputs, 1)
    batch.y = rows
    return finite


cdef int gradients(Engine *e, int partition, int thread) noexcept nogil:
    """Read, forward, loss and backward for one partition of a batch's samples. Returns the
    Status."""
    cdef Step *step = &e.step
    cdef Batch batch = step.batch
    cdef Run *run = step.run
    cdef bint checks = run.checks_data, finite
    cdef Py_ssize_t low = step.batch.size * partition // step.n_partitions, size = e.net.itemsize
    cdef const int64_t *indices = step.indices + low
    batch.first = low
    batch.size = step.batch.size * (partition + 1) // step.n_partitions - low
    batch.gemm = e.ws.gemm + thread * e.ws.gemm_bytes
    batch.x = e.ws.x_rows + low * e.net.x_stride * size
    if batch.listed != NULL:
        batch.listed, finite = indices, True
    elif batch.csr:
        finite = read_csr(e, run.x, indices, &batch, checks)
    else:
        finite = gather(&e.net, run.x, indices, batch.size, <char *>batch.x, e.net.x_stride, checks)
    if not (read_labels(e, run.y, indices, &batch, checks) and finite):
        return BAD_DATA
    forward(e, &batch, True)
    finite = loss_gradient(e, &batch, True)
    if not finite and not e.objective.continues:
        return BAD_LOSS
    if e.objective.weights != NULL:
        weigh_samples(e, &batch, indices)
    if step.accumulates or not updates_in_one_pass(e, &step.batch):
        backward(e, &batch)
    return FINITE
